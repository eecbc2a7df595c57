//! SHA-256 (FIPS 180-4) and HMAC (RFC 2104), written again for the tests, so that a signature is not verified by what made it.

/// The bits after the point of the roots of the first primes, as integers: of cube roots for `K`, of square roots for the start.
fn root_bits(prime: u64, cube: bool) -> u32 {
    // The largest r with r^2 <= p 2^64 (or r^3 <= p 2^96): its lower 32 bits.
    let (mut low, mut high) = (0_u128, 1_u128 << 36);
    while high - low > 1 {
        let middle = (low + high) / 2;
        let fits = match cube {
            true => middle * middle * middle <= u128::from(prime) << 96,
            false => middle * middle <= u128::from(prime) << 64,
        };
        if fits { low = middle } else { high = middle }
    }
    low as u32
}

fn primes() -> impl Iterator<Item = u64> {
    (2..).filter(|number| (2..*number).all(|divisor| number % divisor != 0))
}

/// The digest of some bytes.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let constants: Vec<u32> = primes().take(64).map(|prime| root_bits(prime, true)).collect();
    let mut state: Vec<u32> = primes().take(8).map(|prime| root_bits(prime, false)).collect();
    let mut padded = bytes.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend((bytes.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks(64) {
        let mut words: Vec<u32> =
            block.chunks(4).map(|four| u32::from_be_bytes(four.try_into().unwrap())).collect();
        for t in 16..64 {
            let (a, b) = (words[t - 15], words[t - 2]);
            let a = a.rotate_right(7) ^ a.rotate_right(18) ^ (a >> 3);
            let b = b.rotate_right(17) ^ b.rotate_right(19) ^ (b >> 10);
            words.push(words[t - 16].wrapping_add(a).wrapping_add(words[t - 7]).wrapping_add(b));
        }
        let mut s = state.clone();
        for t in 0..64 {
            let big = s[4].rotate_right(6) ^ s[4].rotate_right(11) ^ s[4].rotate_right(25);
            let choice = (s[4] & s[5]) ^ (!s[4] & s[6]);
            let first =
                [big, choice, constants[t], words[t]].iter().fold(s[7], |sum, x| sum.wrapping_add(*x));
            let big = s[0].rotate_right(2) ^ s[0].rotate_right(13) ^ s[0].rotate_right(22);
            let majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
            s.rotate_right(1);
            s[4] = s[4].wrapping_add(first);
            s[0] = first.wrapping_add(big).wrapping_add(majority);
        }
        state.iter_mut().zip(s).for_each(|(old, new)| *old = old.wrapping_add(new));
    }
    let mut digest = [0; 32];
    digest.chunks_mut(4).zip(state).for_each(|(four, word)| four.copy_from_slice(&word.to_be_bytes()));
    digest
}

/// HMAC with SHA-256, for keys of at most a block.
pub(crate) fn hmac_sha256(key: &[u8], text: &[u8]) -> Vec<u8> {
    assert!(key.len() <= 64);
    let pad = |byte: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ byte).collect() };
    let inner = sha256(&[pad(0x36), text.to_vec()].concat());
    sha256(&[pad(0x5c), inner.to_vec()].concat()).to_vec()
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn digests_are_those_of_the_standards() {
    assert_eq!(hex(&sha256(b"abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    // RFC 4231, test case 2.
    assert_eq!(
        hex(&hmac_sha256(b"Jefe", b"what do ya want for nothing?")),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
}

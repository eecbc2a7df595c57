//! The machine that a budget names: its kind of card, how many, and how fast they are.

/// Peak dense bf16 operations per second of one device, from NVIDIA's data sheets. Utilization is a share of it whatever the format of a
/// training is, so that it can be compared: products in f32 (TF32 on tensor cores) reach half of it at most.
pub(crate) const DEVICE_FLOPS: [(&str, f64); 4] =
    [("H100", 989e12), ("H200", 989e12), ("A100", 312e12), ("B200", 2250e12)];

/// Splits a machine such as `4xH100-80GB` into the number of devices and their name. Without a number it is one device.
#[must_use]
pub(crate) fn parse_machine(machine: &str) -> (u64, &str) {
    let (count, name) = machine.split_once('x').unwrap_or(("1", machine));
    count.parse().map_or((1, machine), |count| (count, name))
}

/// Peak dense bf16 operations per second of a machine; `None` if its devices are not in [`DEVICE_FLOPS`].
#[must_use]
pub(crate) fn compute_peak_flops(machine: Option<&str>) -> Option<f64> {
    let (count, name) = parse_machine(machine?);
    Some(count as f64 * find_device_flops(name)?)
}

/// The same of the one device on which a training runs: a GPU is taken for one of `machine gpu=`. `None` for a processor, whose peak no table
/// here has.
#[must_use]
pub(crate) fn find_running_flops(machine: Option<&str>, device: &str) -> Option<f64> {
    let (_, name) = parse_machine(machine.filter(|_| device.starts_with("cuda"))?);
    find_device_flops(name)
}

fn find_device_flops(name: &str) -> Option<f64> {
    DEVICE_FLOPS.iter().find(|(known, _)| name.starts_with(known)).map(|(_, peak)| *peak)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_read() {
        assert_eq!(compute_peak_flops(Some("4xH100-80GB")), Some(4.0 * 989e12));
        assert_eq!(compute_peak_flops(Some("A100")), Some(312e12));
        assert_eq!(compute_peak_flops(Some("abacus")), None);
    }

    #[test]
    fn one_device_runs_and_only_a_gpu_has_a_known_peak() {
        assert_eq!(find_running_flops(Some("4xH100-80GB"), "cuda:0"), Some(989e12));
        assert_eq!(find_running_flops(Some("4xH100-80GB"), "cpu"), None);
        assert_eq!(find_running_flops(Some("4xV100"), "cuda"), None);
        assert_eq!(find_running_flops(None, "cuda"), None);
    }
}

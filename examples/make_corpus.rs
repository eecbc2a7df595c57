//! Writes `examples/quickstart/corpus/tales.txt`: short texts from a grammar, so that a model that trains for a few minutes has
//! something regular to learn besides the prose of `notes.txt` and the code of `sources.txt`.
//!
//! The file is frozen; see `make_tasks.rs`. Run it from the root of the repository: `cargo run --example make_corpus`.

const SEED: u64 = 20_261_123;

/// Number of texts in the file.
const TEXTS: usize = 1240;

/// Symbols and their expansions. `$name` expands at random each time; `$Name` expands once per text.
const GRAMMAR: &[(&str, &[&str])] = &[
    (
        "text",
        &[
            "$story",
            "$story",
            "$recipe",
            "$weather",
            "$steps",
            "$letter",
            "$main",
            "$main",
            "$function",
            "$function",
            "$run",
            "$talk",
            "$map",
        ],
    ),
    // Stories.
    (
        "story",
        &[
            "$Hero the $Trade lived $place. $need $try $turn $end",
            "In the $season there was a $Trade called $Hero, who lived $place. $need $turn $end",
            "$place_up there lived a $Trade. Her name was $Hero. $need $try $try $end",
        ],
    ),
    (
        "Hero",
        &["Ada", "Mila", "Nora", "Edith", "Grace", "Lena", "Ruth", "Ines", "Vera", "Olga", "Hanna", "Clara"],
    ),
    (
        "Trade",
        &[
            "miller",
            "baker",
            "printer",
            "clockmaker",
            "weaver",
            "gardener",
            "ferrywoman",
            "bookbinder",
            "beekeeper",
            "carpenter",
        ],
    ),
    (
        "place",
        &[
            "near the old harbour",
            "at the edge of a wide forest",
            "beside a slow river",
            "in a small house on the hill",
            "above the market square",
            "behind the stone bridge",
        ],
    ),
    (
        "place_up",
        &[
            "Near the old harbour",
            "At the edge of a wide forest",
            "Beside a slow river",
            "In a small house on the hill",
            "Above the market square",
        ],
    ),
    ("season", &["spring", "summer", "autumn", "winter", "year of the long rain", "week before the fair"]),
    (
        "need",
        &[
            "Every morning she looked for a better way to $work.",
            "One day her $tool broke, and nobody could repair it.",
            "She wanted to $work, but she had only $few $things.",
            "People said that nobody could $work before the $season was over.",
            "She kept $few $things in a box and counted them each evening.",
        ],
    ),
    (
        "work",
        &[
            "carry water up the hill",
            "measure the height of the tide",
            "print a book without errors",
            "keep the bread warm",
            "find the shortest road to town",
            "count the boats in the fog",
            "mend the great wheel",
            "write down every song",
        ],
    ),
    ("tool", &["lamp", "scale", "loom", "press", "oven", "compass", "ladder", "saw"]),
    ("few", &["two", "three", "four", "five", "six", "seven"]),
    ("things", &["apples", "candles", "nails", "letters", "coins", "ropes", "pears", "maps"]),
    (
        "try",
        &[
            "First she tried it with $few $things, and it did not work.",
            "She asked the $old_one, who only said: \"$saying\"",
            "So she began with the smallest part and wrote down what happened.",
            "She took one piece away, then another, and looked again.",
            "For $few days she did nothing but watch.",
        ],
    ),
    (
        "old_one",
        &["old captain", "teacher", "woman at the well", "keeper of the tower", "youngest of the sisters"],
    ),
    (
        "saying",
        &[
            "Measure first, then cut.",
            "What you cannot repeat, you do not know.",
            "A small step is still a step.",
            "Ask the question again, but shorter.",
            "The last mile is as long as the first.",
        ],
    ),
    (
        "turn",
        &[
            "Then the wind changed, and with it the $tool.",
            "On the third day she saw her mistake: she had counted the $things twice.",
            "A stranger came by and left a $tool at her door.",
            "At last she understood that the $tool was not the problem.",
            "In the night the river rose and carried the $things away.",
        ],
    ),
    (
        "end",
        &[
            "After that she could $work, and she showed everyone how.",
            "She laughed, put the $tool back, and started again.",
            "From then on the people of the town came to learn from $Hero.",
            "And $Hero wrote it all down, so that nobody had to find it twice.",
            "The $things lasted until the $season.",
        ],
    ),
    // Recipes.
    (
        "recipe",
        &[
            "$Dish for $few people\n\nYou need $amount of $food, $amount of $food and $amount of $food. $cook $cook $cook Serve it $serve.",
        ],
    ),
    ("Dish", &["Soup", "Flat bread", "Pancakes", "Stew", "Porridge", "Apple cake", "Dumplings"]),
    ("amount", &["100 g", "200 g", "250 g", "half a cup", "one cup", "two spoons", "a handful"]),
    (
        "food",
        &[
            "flour", "oats", "butter", "milk", "carrots", "onions", "lentils", "apples", "rice", "salt",
            "honey", "cheese",
        ],
    ),
    (
        "cook",
        &[
            "Mix the $food with the $food until it is smooth.",
            "Heat the $food slowly for $minutes minutes.",
            "Add the $food and stir.",
            "Let it rest for $minutes minutes.",
            "Cut the $food into small pieces.",
            "Bake everything for $minutes minutes at $degrees degrees.",
        ],
    ),
    ("minutes", &["5", "10", "15", "20", "25", "30", "45"]),
    ("degrees", &["160", "170", "180", "190", "200", "220"]),
    ("serve", &["warm", "with $food", "cold, the next day", "with a little $food on top"]),
    // Weather.
    (
        "weather",
        &[
            "Weather for $Day. $sky in the morning, $sky_later in the afternoon. The temperature is between $low and $high degrees. The wind comes from the $wind$gusts. $outlook",
        ],
    ),
    ("Day", &["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]),
    ("sky", &["Clear", "Cloudy", "Light rain", "Fog", "Snow", "Sunny"]),
    ("sky_later", &["sunny", "heavy rain", "a few clouds", "showers", "dry", "thunder in the hills"]),
    ("low", &["-4", "0", "3", "5", "8"]),
    ("high", &["9", "12", "15", "19", "24"]),
    ("wind", &["north", "east", "south", "west", "north-west", "south-east"]),
    ("gusts", &["", "", ", with strong gusts", ", but it is weak", " and turns later"]),
    (
        "outlook",
        &[
            "The next day will be warmer.",
            "The next day will be colder.",
            "No change is expected until $Day.",
            "Take an umbrella.",
            "The roads may be slippery.",
        ],
    ),
    // Procedures.
    (
        "steps",
        &[
            "How to $Goal\n\n1. $do_it\n2. $do_it\n3. $do_it\n4. $check_it",
            "How to $Goal\n\n1. $do_it\n2. $do_it\n3. $check_it",
        ],
    ),
    (
        "Goal",
        &[
            "start a new run",
            "find a slow step",
            "compare two models",
            "clean a dataset",
            "repair a broken checkpoint",
            "choose a learning rate",
            "prepare a release",
            "write a useful test",
        ],
    ),
    (
        "do_it",
        &[
            "Write down what you expect before you look.",
            "Change one value and leave the others alone.",
            "Copy the $file to a safe place.",
            "Run the smallest example that shows the problem.",
            "Read the $file from the first line.",
            "Measure the time of each stage.",
            "Ask a second person to read the $file.",
            "Set the seed to $number.",
        ],
    ),
    (
        "check_it",
        &[
            "Compare the result with the $file.",
            "If the numbers differ, go back to step 1.",
            "Keep the $file, even if nothing was wrong.",
            "Stop when two runs agree.",
        ],
    ),
    ("file", &["configuration", "manifest", "log", "checkpoint", "table", "plan", "report"]),
    ("number", &["1", "2", "3", "4", "5", "7", "8", "10", "12", "16", "20", "32", "64", "100"]),
    // Letters.
    ("letter", &["Dear $Hero,\n\nthank you for the $things. $news $news $close\n\nYours,\n$friend"]),
    (
        "news",
        &[
            "The $tool works again.",
            "We had $sky_later for $few days.",
            "The $Trade next door asks about you.",
            "I could not $work yet.",
            "The children have found $few $things in the garden.",
            "Your last letter took $few days.",
        ],
    ),
    (
        "close",
        &[
            "Write soon.",
            "Come and visit us in the $season.",
            "Bring your $tool when you come.",
            "More in my next letter.",
        ],
    ),
    ("friend", &["Tom", "Karl", "Ben", "Jonas", "Emil", "Paul"]),
    // Programs.
    (
        "main",
        &[
            "fn main() {\n    println!(\"$word\");\n}",
            "fn main() {\n    let $Var = $number;\n    println!(\"{$Var}\");\n}",
            "fn main() {\n    let $Var = $Func($number, $number);\n    println!(\"{$Var}\");\n}",
            "fn main() {\n    for $Var in 0..$number {\n        println!(\"{$Var}\");\n    }\n}",
            "fn main() {\n    let mut $Var = $number;\n    $Var += $number;\n    println!(\"{$Var}\");\n}",
            "fn main() {\n    $Func();\n}",
        ],
    ),
    ("word", &["hello", "done", "hello, world", "ready", "$Day", "no change"]),
    ("Var", &["n", "x", "total", "count", "rows", "sum", "step"]),
    ("Func", &["add", "scale", "run", "largest", "mean", "next", "report"]),
    (
        "function",
        &[
            "/// $doc\nfn $Func($Var: $Type) -> $Type {\n    $Var $op $number\n}",
            "/// $doc\nfn $Func($Var: &[$Type]) -> $Type {\n    $Var.iter().$fold\n}",
            "/// $doc\nfn $Func(a: $Type, b: $Type) -> $Type {\n    if a $order b { a } else { b }\n}",
            "#[test]\nfn ${Func}_works() {\n    assert_eq!($Func($number), $number);\n}",
        ],
    ),
    (
        "doc",
        &[
            "Returns the $Func of its arguments.",
            "The $Func, without rounding.",
            "Never fails.",
            "Takes time in proportion to its input.",
        ],
    ),
    ("Type", &["u32", "u64", "i64", "f32", "f64", "usize"]),
    ("op", &["+", "-", "*", "/", "%"]),
    ("fold", &["sum()", "copied().sum()", "product()", "copied().max().unwrap_or(0)"]),
    ("order", &["<", ">", "<=", ">="]),
    // Training logs.
    (
        "run",
        &[
            "Run $number, seed $number. The loss fell from $high.$number to $few_digit.$number in $number00 steps. $remark $remark",
            "step $number00  loss $few_digit.$number  rate 2e-3\nstep $number00  loss $few_digit.$number  rate 1e-3\nstep $number00  loss $few_digit.$number  rate 2e-4\n$remark",
        ],
    ),
    ("number00", &["100", "200", "300", "400", "500", "800", "1000", "2000"]),
    ("few_digit", &["1", "2", "3", "4"]),
    (
        "remark",
        &[
            "The gradient norm stayed below $number.",
            "The held-out loss is the same as before.",
            "Half of the tokens were masked.",
            "One batch held $number rows.",
            "The model was saved at the last step.",
            "The warm-up took $number steps.",
            "With more time the result would be better.",
        ],
    ),
    // Questions.
    (
        "talk",
        &["What is a $Term? $Term_says", "Q: What is a $Term?\nA: $Term_says\nQ: Do I need one?\nA: $maybe"],
    ),
    ("Term", &["token", "row", "batch", "step", "mask", "schedule", "checkpoint", "sampler"]),
    (
        "Term_says",
        &[
            "A $Term is one of the parts that training is made of; the notes explain it.",
            "Think of a $Term as a small box with a name.",
            "There are $few kinds of $Term, and most models use the first.",
            "It depends on the model, but a $Term never changes while it is read.",
        ],
    ),
    (
        "maybe",
        &[
            "Yes, always.",
            "Only if the model is large.",
            "No, but it helps.",
            "For the first run, no.",
            "Not before the $season.",
        ],
    ),
    // Directions.
    (
        "map",
        &[
            "From the $Spot go $wind for $number minutes, turn to the $wind at the $spot, and cross the $spot. The $spot is on the $side side. If you see the $spot, you went too far.",
        ],
    ),
    ("Spot", &["station", "harbour", "town hall", "library", "school"]),
    ("spot", &["bridge", "mill", "market", "tower", "well", "church", "garden", "ferry"]),
    ("side", &["left", "right", "sunny", "far"]),
];

fn main() -> std::io::Result<()> {
    std::fs::write("examples/quickstart/corpus/tales.txt", tales())
}

/// The whole file: texts separated by blank lines.
pub(crate) fn tales() -> String {
    let mut random = Random(SEED);
    let text = |_| {
        let mut fixed = Vec::new();
        expand("$text", &mut random, &mut fixed)
    };
    (0..TEXTS).map(text).collect::<Vec<_>>().join("\n\n") + "\n"
}

/// `template` with every symbol expanded; `fixed` holds the symbols that stay the same.
fn expand(template: &str, random: &mut Random, fixed: &mut Vec<(String, String)>) -> String {
    let mut parts = template.split('$');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let braced = part.starts_with('{');
        let part = part.trim_start_matches('{');
        let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(part.len());
        // The name is the longest prefix that the grammar knows: `$number00` and `${Func}_works` both work.
        let (name, choices) = known(&part[..end]);
        let rest = &part[name.len()..];
        text.push_str(&choose(name, choices, random, fixed));
        text.push_str(if braced { rest.trim_start_matches('}') } else { rest });
    }
    text
}

/// The longest symbol that `word` starts with, and its expansions. A word without a symbol expands to nothing.
fn known(word: &str) -> (&str, &'static [&'static str]) {
    let fits = GRAMMAR.iter().filter(|(name, _)| word.starts_with(name));
    match fits.max_by_key(|(name, _)| name.len()) {
        Some((name, choices)) => (&word[..name.len()], choices),
        None => (word, &[""]),
    }
}

fn choose(name: &str, choices: &[&str], random: &mut Random, fixed: &mut Vec<(String, String)>) -> String {
    if let Some((_, text)) = fixed.iter().find(|(known, _)| known == name) {
        return text.clone();
    }
    let text = expand(choices[random.below(choices.len())], random, fixed);
    if name.starts_with(|c: char| c.is_ascii_uppercase()) {
        fixed.push((name.to_owned(), text.clone()));
    }
    text
}

/// SplitMix64 (Steele et al., 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ (z >> 31)) * n as u128) >> 64) as usize
    }
}

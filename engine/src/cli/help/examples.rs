//! Examples of every command, to paste.

/// A line to paste, and what it does.
pub(super) type CommandExample = (&'static str, &'static str);

/// The commands that a new user needs first.
pub(super) const FIRST: &[CommandExample] = &[
    ("fmflow init", "write a small project to start from"),
    ("fmflow check pipeline.kdl", "check it for mistakes"),
    ("fmflow plan pipeline.kdl", "see what would run, and why"),
    ("fmflow run pipeline.kdl", "run it, or continue it"),
    ("fmflow explain learning-rate.peak", "what a field, a node or a code means"),
];

/// Examples of every command, in the order of the commands.
pub(super) const EXAMPLES: &[(&str, &[CommandExample])] = &[
    ("init", &[("fmflow init", "in this folder"), ("fmflow init first", "in a folder of its own")]),
    (
        "check",
        &[
            ("fmflow check pipeline.kdl", "all mistakes at once, each with a fix"),
            (
                "fmflow check pipeline.kdl --online",
                "ask the hub about repositories, pin them in pipeline.lock",
            ),
            ("fmflow check pipeline.kdl --runnable", "exit with 3 if `run` would refuse something"),
            ("fmflow check pipeline.kdl --format concise", "one line each, for an editor"),
            ("fmflow check pipeline.kdl --format github", "annotations in a GitHub workflow"),
        ],
    ),
    (
        "plan",
        &[
            ("fmflow plan pipeline.kdl", "stages, reasons, learning rates, tokens, disk"),
            ("fmflow plan pipeline.kdl --until sft", "what `run` with the same options would do"),
            ("fmflow plan pipeline.kdl --check", "exit with 3 if something would run"),
            ("fmflow plan pipeline.kdl --measured", "also how long trainings take, as measured before"),
        ],
    ),
    (
        "run",
        &[
            ("fmflow run pipeline.kdl", "all missing stages"),
            (
                "fmflow run --smoke pipeline.kdl",
                "the whole file in about a minute, tiny, with generated data",
            ),
            ("fmflow run pipeline.kdl --until pretrain", "this stage and what it needs"),
            ("fmflow run pipeline.kdl --only sft", "this stage alone; its inputs have to be finished"),
            ("fmflow run pipeline.kdl --from sft", "this stage and what depends on it, even if finished"),
            ("fmflow run pipeline.kdl --jobs 2", "two stages at a time, if neither needs the other"),
            ("fmflow run pipeline.kdl --device cuda:0", "on the first GPU"),
            ("fmflow run pipeline.kdl --allow-commands", "its programs, too, even if they are not approved"),
        ],
    ),
    (
        "resume",
        &[
            ("fmflow resume", "the last run of the store"),
            ("fmflow resume pipeline.kdl", "this pipeline, unless it changed"),
        ],
    ),
    (
        "approve",
        &[
            ("fmflow approve pipeline.kdl", "show its commands, and approve them until they change"),
            ("fmflow approve pipeline.kdl --revoke", "take that back"),
        ],
    ),
    (
        "status",
        &[
            ("fmflow status pipeline.kdl", "which stages are finished, unfinished or missing"),
            ("fmflow status pipeline.kdl --follow", "watch a run in another terminal until it ends"),
            ("fmflow status pipeline.kdl --json", "the same for a program"),
        ],
    ),
    (
        "why",
        &[
            ("fmflow why pipeline.kdl", "what changed, in every stage that would run"),
            ("fmflow why pipeline.kdl sft", "what changed since its newest result, and what else will run"),
            ("fmflow why pipeline.kdl sft --vs 3", "what changed since run 3; `fmflow log` lists the runs"),
            ("fmflow why pipeline.kdl sft --key", "everything that its result depends on"),
        ],
    ),
    (
        "diff",
        &[
            ("fmflow diff code@3 code@5", "the evaluation `code` in two runs: settings, scores, flips"),
            ("fmflow diff code:pretrain code:sft", "two checkpoints in one evaluation"),
            ("fmflow diff 3 5", "two runs, stage by stage"),
            ("fmflow diff old/artifact new/artifact", "two artifacts or checkpoints by their folders"),
        ],
    ),
    (
        "show",
        &[
            ("fmflow show pipeline.kdl", "the results of all finished stages"),
            ("fmflow show pipeline.kdl sft", "its result, its files and their folder"),
            ("fmflow show pipeline.kdl sft --resolved", "every setting, and where it comes from"),
            ("cd \"$(fmflow show pipeline.kdl sft --path)\"", "only the folder"),
        ],
    ),
    (
        "data",
        &[
            ("fmflow data show pipeline.kdl chat/tasks", "the first rows, with what is learned"),
            ("fmflow data show pipeline.kdl chat/tasks --row 7 --at 0.5", "a row with half of its noise"),
            ("fmflow data stats pipeline.kdl", "tokens, packing and losses of all rows"),
            ("fmflow data stats pipeline.kdl chat/tasks", "lengths, and what is left out"),
        ],
    ),
    (
        "log",
        &[
            ("fmflow log", "every run of the store: when, what, how it ended"),
            ("fmflow log pipeline.kdl", "the runs of one pipeline"),
            ("fmflow log pipeline.kdl sft --plot", "the curves of a training, also while it runs"),
            (
                "fmflow log pipeline.kdl sft | tail -1",
                "the last metrics of a stage, one JSON object per line",
            ),
        ],
    ),
    (
        "report",
        &[
            ("fmflow report pipeline.kdl", "in report.html, also while it runs"),
            ("fmflow report 3 -o run-3.html", "of run 3; `fmflow log` lists the runs"),
            ("fmflow report", "of the last run of the store"),
        ],
    ),
    (
        "graph",
        &[
            ("fmflow graph pipeline.kdl", "one line per stage"),
            ("fmflow graph pipeline.kdl --format dot | dot -Tsvg > p.svg", "a picture"),
            ("fmflow graph pipeline.kdl --format mermaid", "for Markdown"),
        ],
    ),
    (
        "generate",
        &[
            ("fmflow generate pipeline.kdl sft --chat --prompt Hello", "a user's turn, to a finished stage"),
            ("fmflow generate FOLDER --prompt Once --new-tokens 128", "a prompt, to a checkpoint folder"),
            (
                "fmflow generate FOLDER --file prompt.txt --sampler confidence passes=16 block=8",
                "with another sampler",
            ),
            (
                "fmflow generate FOLDER --prefix Once --suffix End. --length 4..16",
                "the gap between two texts",
            ),
            ("fmflow generate FOLDER --prompt Once -n 4 --seed 7 --json", "four samples, for a program"),
        ],
    ),
    (
        "chat",
        &[
            ("fmflow chat pipeline.kdl sft", "with a finished stage"),
            (
                "fmflow chat FOLDER --sampler confidence passes=16",
                "with a checkpoint folder and another sampler",
            ),
            ("fmflow chat FOLDER < questions.txt", "a line is a message; one that ends with \\ goes on"),
        ],
    ),
    (
        "serve",
        &[
            ("fmflow serve pipeline.kdl sft", "a finished stage, with a page at http://127.0.0.1:8000"),
            ("fmflow serve FOLDER pipeline.kdl sft --port 9000", "two checkpoints"),
            ("fmflow serve FOLDER --host 0.0.0.0 --keys keys.txt", "for others, who need a key"),
        ],
    ),
    (
        "bench",
        &[
            (
                "fmflow bench generate pipeline.kdl sft --questions tasks.jsonl",
                "the sampler that `generate` uses",
            ),
            (
                "fmflow bench generate pipeline.kdl sft --questions tasks.jsonl --sampler fast --sampler exact",
                "two samplers of the file",
            ),
            ("fmflow bench generate FOLDER --questions tasks.jsonl --json", "for a program"),
        ],
    ),
    (
        "verify",
        &[
            ("fmflow verify \"$(fmflow show pipeline.kdl sft --path)\"", "check every byte of an artifact"),
            ("fmflow verify FOLDER --deep", "also recompute the logits of its certificate"),
            ("fmflow verify FOLDER --batches", "also compare answers alone, in batches and with a cache"),
        ],
    ),
    (
        "grade",
        &[
            (
                "fmflow grade humaneval --problems HumanEval.jsonl.gz --samples samples.jsonl",
                "how many samples pass, and why the others do not",
            ),
            (
                "fmflow grade mbpp --problems mbpp.jsonl --samples samples.jsonl --json",
                "the same for a program, with every verdict",
            ),
        ],
    ),
    (
        "gc",
        &[
            ("fmflow gc", "what can be removed, and what uses the rest"),
            ("fmflow gc --yes", "remove it"),
            ("fmflow gc pipeline.kdl", "keep only what this pipeline and the last run use"),
            ("fmflow gc --pin sft-02be333369fb", "keep this artifact, even if no pipeline uses it"),
        ],
    ),
    (
        "doctor",
        &[
            ("fmflow doctor", "before the first run, or for a bug report"),
            ("fmflow doctor pipeline.kdl", "also check whether this pipeline can run here"),
        ],
    ),
    (
        "explain",
        &[
            ("fmflow explain train", "a node and its fields"),
            ("fmflow explain learning-rate.peak", "a field"),
            ("fmflow explain max_steps", "a name that another tool uses"),
            ("fmflow explain elbo", "a word of papers, or an idea"),
            ("fmflow explain --list", "all diagnostic codes"),
        ],
    ),
    (
        "schema",
        &[
            ("fmflow schema", "the language reference, as Markdown"),
            ("fmflow schema --json", "the field table for a program"),
            ("fmflow schema --kdl-schema > fmflow.schema.kdl", "for an editor that supports KDL schemas"),
        ],
    ),
    (
        "completions",
        &[
            ("source <(fmflow completions bash)", "for this shell"),
            (
                "fmflow completions fish > ~/.config/fish/completions/fmflow.fish",
                "for every shell from now on",
            ),
        ],
    ),
];

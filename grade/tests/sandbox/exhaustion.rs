//! Programs that use up time, memory or the pipe. Each gets its verdict soon.

use std::time::{Duration, Instant};

use fmflow_grade::session::Outcome::{self, BadAnswer, Exited, Killed, Raised, TimedOut, WrongAnswer};
use libtest_mimic::Trial;

use super::{grade, problem, trial};

const PROGRAMS: &[(&str, &[Outcome], &str)] = &[
    ("endless_loop", &[TimedOut], "def f():\n    while True: pass"),
    ("endless_loop_while_loading", &[TimedOut], "while True: pass"),
    (
        "endless_loop_without_signals",
        &[Killed, TimedOut],
        "import signal\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass\ndef f():\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass",
    ),
    ("endless_sleep", &[TimedOut], "import time\ndef f(): time.sleep(10**6)"),
    ("bomb_of_processes", &[Raised], "import os\ndef f():\n    while True: os.fork()"),
    (
        "bomb_of_threads",
        &[Raised, TimedOut, WrongAnswer, Exited],
        "import threading, time\ndef f():\n    while True: threading.Thread(target=lambda: time.sleep(99)).start()",
    ),
    (
        "busy_threads",
        &[TimedOut],
        "import threading\ndef work():\n    while True: pass\ndef f():\n    for _ in range(4): threading.Thread(target=work).start()\n    work()",
    ),
    ("eight_gigabytes", &[Raised], "def f(): return len(bytearray(8 << 30))"),
    (
        "list_without_end",
        &[Raised, TimedOut, Exited],
        "def f():\n    all = []\n    while True: all.append(bytearray(1 << 20))",
    ),
    (
        "output_without_end",
        &[TimedOut],
        "import sys\ndef f():\n    while True: sys.stdout.write('x' * (1 << 20))",
    ),
    ("endless_recursion", &[Raised], "def f(): return f()"),
    (
        "recursion_through_the_stack",
        &[Exited],
        "import sys\nsys.setrecursionlimit(10**9)\ndef g(*a): return max([1, 2], key=lambda _: g(*a))\ndef f(): return g()",
    ),
    ("huge_number", &[TimedOut, Raised], "def f(): return 10 ** 10 ** 9"),
    ("huge_answer", &[BadAnswer], "def f(): return 'x' * (1 << 24)"),
    ("answer_of_many_parts", &[BadAnswer, Raised, TimedOut], "def f(): return list(range(10**7))"),
    (
        "deep_answer",
        &[Raised],
        "def f():\n    deep = []\n    for _ in range(10**5): deep = [deep]\n    return deep",
    ),
    ("answer_in_a_circle", &[Raised], "def f():\n    all = []\n    all.append(all)\n    return all"),
    ("flood_of_the_pipe", &[BadAnswer], "import os\ndef f():\n    while True: os.write(4, b'x' * 65536)"),
    ("header_without_end", &[BadAnswer], "import os\ndef f():\n    os.write(4, b'answer ' + b'1' * 4096)"),
    (
        "length_that_is_a_lie",
        &[BadAnswer, TimedOut],
        "import os, time\ndef f():\n    os.write(4, b'answer 1 1000\\nI1;')\n    time.sleep(99)",
    ),
    ("never_reads_its_input", &[TimedOut, Killed], "import time\ntime.sleep(10**6)"),
    ("abort", &[Exited], "import os\ndef f(): os.abort()"),
    ("wrong_memory", &[Exited], "import ctypes\ndef f(): ctypes.string_at(0)"),
];

pub(super) fn trials() -> Vec<Trial> {
    let one = |(name, expected, source): &(&'static str, &'static [Outcome], &'static str)| {
        let (expected, source) = (*expected, *source);
        trial(format!("exhaustion::{name}"), move || {
            let start = Instant::now();
            let verdict = grade(&problem(&["assert f() == 0"]), source);
            assert!(expected.contains(&verdict.outcome), "{verdict:?}");
            // A second of processor time; killed programs run twice, and other tests run at the same time.
            assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
        })
    };
    PROGRAMS.iter().map(one).collect()
}

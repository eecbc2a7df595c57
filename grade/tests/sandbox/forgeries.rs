//! Programs that solve nothing and want to pass. None may.

use libtest_mimic::Trial;

use super::{grade, problem, trial};

/// Programs that should define `add`.
const FORGERIES: &[(&str, &str)] = &[
    (
        "equals_everything",
        "class Same:\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\ndef add(a, b): return Same()",
    ),
    (
        "number_that_equals_everything",
        "class Same(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\ndef add(a, b): return Same(0)",
    ),
    (
        "text_that_equals_everything",
        "class Same(str):\n    def __eq__(self, other): return True\ndef add(a, b): return Same('')",
    ),
    (
        "pretends_its_class",
        "class Same:\n    __class__ = int\n    def __eq__(self, other): return True\n    def __index__(self): return 5\ndef add(a, b): return Same()",
    ),
    (
        "true_in_every_way",
        "class Yes:\n    def __bool__(self): return True\n    def __getattr__(self, name): return lambda *a: True\ndef add(a, b): return Yes()",
    ),
    ("ends_while_loading", "import sys\nsys.exit(0)"),
    ("ends_in_the_call", "import sys\ndef add(a, b): sys.exit(0)"),
    ("ends_hard_while_loading", "import os\nos._exit(0)"),
    ("ends_hard_in_the_call", "import os\ndef add(a, b): os._exit(0)"),
    (
        "walks_frames",
        "import sys\ndef add(a, b):\n    frame = sys._getframe()\n    while frame:\n        for name in list(frame.f_locals):\n            value = frame.f_locals[name]\n            if isinstance(value, list): value.append('passed')\n            if isinstance(value, dict): value['result'] = 'passed'\n        frame = frame.f_back",
    ),
    (
        "patches_builtins",
        "import builtins\nbuiltins.AssertionError = ValueError\nbuiltins.isinstance = lambda *a: True\nbuiltins.len = lambda *a: 5\ndef add(a, b): return 0",
    ),
    (
        "patches_the_channel",
        "import sys\nmain = sys.modules['__main__']\nmain.encode = lambda value, out, depth=0: out.append('O1') or out\ndef add(a, b): return 0",
    ),
    (
        "patches_send",
        "import sys\nmain = sys.modules['__main__']\nown = main.send\nmain.send = lambda kind, number, value: own('verdict', number, ('passed', '', 0))\ndef add(a, b): return 0",
    ),
    (
        "prints_the_marker",
        "print('passed')\nprint('verdict 0 21\\nU3;S706173736564;S;I0;')\ndef add(a, b):\n    print('passed')",
    ),
    (
        "writes_a_verdict",
        "import os\nos.write(4, b'verdict 0 21\\nU3;S706173736564;S;I0;')\ndef add(a, b): return 0",
    ),
    (
        "writes_a_verdict_in_the_call",
        "import os\ndef add(a, b):\n    os.write(4, b'verdict 1 21\\nU3;S706173736564;S;I0;')\n    return 0",
    ),
    (
        "answers_ahead",
        "import os\nos.write(4, b'loaded 0 1\\nN' + b'answer 1 2\\nO1' * 9)\ndef add(a, b): return 0",
    ),
    (
        "writes_at_exit",
        "import atexit, os\natexit.register(lambda: os.write(4, b'verdict 1 21\\nU3;S706173736564;S;I0;'))\ndef add(a, b): raise SystemExit",
    ),
    ("overrides_check", "def check(candidate): pass\ndef add(a, b): return None"),
    (
        "searches_for_the_tests",
        "import gc, sys\ndef add(a, b):\n    for thing in gc.get_objects():\n        if isinstance(thing, str) and 'assert add' in thing: return 5\n    for path in ('tests.py', '/proc/self/cmdline', '/proc/self/mem', __file__ if '__file__' in globals() else 'x'):\n        try:\n            if 'assert' in open(path).read(): return 5\n        except OSError: pass\n    return 0",
    ),
    (
        "answers_from_a_thread",
        "import threading, time, os\ndef late():\n    time.sleep(0.1)\n    os.write(4, b'verdict 1 21\\nU3;S706173736564;S;I0;')\ndef add(a, b):\n    threading.Thread(target=late).start()\n    time.sleep(0.3)\n    return 0",
    ),
    ("raises_an_assertion", "def add(a, b): raise AssertionError"),
    ("raises_what_ends_a_loop", "def add(a, b): raise StopIteration"),
    ("raises_an_interrupt", "def add(a, b): raise KeyboardInterrupt"),
    (
        "raises_its_own_kind",
        "class Odd(BaseException):\n    pass\nOdd.__module__ = 'builtins'\nOdd.__name__ = 'Exception'\ndef add(a, b): raise Odd()",
    ),
    (
        "becomes_another_python",
        "import os, sys\nos.execv(sys.executable or '/usr/bin/python3', ['python3', '-c', 'import os; os.write(4, b\"loaded 0 1\\\\nN\" + b\"answer 1 2\\\\nO1\" * 9)'])",
    ),
    ("is_not_a_number", "def add(a, b): return float('nan')"),
    ("closes_the_channel", "import os\nos.close(4)\ndef add(a, b): return 0"),
    ("is_empty", ""),
];

pub(super) fn trials() -> Vec<Trial> {
    let forged = FORGERIES.iter().map(|(name, source)| {
        trial(format!("forgery::{name}"), move || {
            let verdict = grade(
                &problem(&["assert add(2, 3) == 5", "assert add(-1, 1) == 0\nassert add(1, 1) == 2"]),
                source,
            );
            assert!(!verdict.passed(), "{verdict:?}");
        })
    });
    forged.chain([trial("forgery::an_honest_program_passes".into(), honest)]).collect()
}

fn honest() {
    let verdict = grade(&problem(&["assert add(2, 3) == 5"]), "def add(a, b): return a + b");
    assert!(verdict.passed(), "{verdict:?}");
}

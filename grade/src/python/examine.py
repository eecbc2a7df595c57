# Runs outside the sandbox, once: where this interpreter lies and which files it reads. The libraries of its modules are those that are
# mapped after importing them.
import json, os, sys

if sys.version_info < (3, 8):
    print(json.dumps({"version": sys.version.split()[0]}))
    sys.exit()

SKIPPED = ("_test", "_tkinter", "_gdbm", "_dbm", "_curses", "readline", "nis", "ossaudiodev", "xx")
for folder in [path for path in sys.path if path.endswith("lib-dynload")]:
    for name in os.listdir(folder):
        module = name.split(".")[0]
        if not module.startswith(SKIPPED):
            try:
                __import__(module)
            except ImportError:
                pass
with open("/proc/self/maps") as maps:
    mapped = {line.split(None, 5)[5].strip() for line in maps if "/" in line}
program = os.path.realpath(sys.executable)
paths = [os.path.realpath(path) for path in sys.path if os.path.exists(path)]
files = [path for path in sorted(mapped) if os.path.isfile(path) and path != program]
print(json.dumps({"version": sys.version.split()[0], "program": program, "paths": paths, "files": files}))

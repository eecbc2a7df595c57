# The trusted interpreter: it runs the reference solution and the tests, and asks the candidate by messages.


class CandidateFailed(BaseException):
    """The candidate failed in a way that no test can expect."""


class Unfit(BaseException):
    """The problem cannot be graded, whatever the candidate is."""


calls = 0

# Longest text of a candidate that is kept, in letters: a candidate may write anything instead of an exception.
LONGEST = 300

# Longest question, as `MAX_BYTES` in literal.rs.
MOST_BYTES = 1 << 20

# `ast.PyCF_ONLY_AST`: loading `ast` takes longer than most tests.
ONLY_TREE = 0x400

# What catches a `StopIteration`.
CATCHING = {"StopIteration", "Exception", "BaseException"}
stop_is_expected = False


def ask(name, arguments, named):
    global calls
    calls += 1
    send("call", calls, (name, arguments, named))
    try:
        kind, _, value = receive()
        if kind == "answer":
            return value
        if kind != "raised":
            raise CandidateFailed("%s: %s" % (kind, str(value)[:LONGEST]))
        own, names, text = [str(value[0])[:LONGEST], value[1], str(value[2])[:LONGEST]]
        kinds = [getattr(builtins, str(name), None) for name in names]
    except Exception as error:
        raise CandidateFailed("an answer is no value: %s" % str(error)[:LONGEST])
    for base in kinds:
        if base is StopIteration and not stop_is_expected:
            # It would end a `map` of the tests as if everything was right.
            break
        if isinstance(base, type) and issubclass(base, Exception):
            try:
                error = base(text)
            except TypeError:
                continue
            error.of_program = True
            raise error
    raise CandidateFailed("%s: %s" % (own, text))


def make_proxy(name):
    def call(*arguments, **named):
        refuse_unsayable((name, arguments, named))
        return ask(name, arguments, named)

    return call


def refuse_unsayable(question):
    """Arguments must be literals: the candidate could not work with anything else. That they are not is the fault of the test, unless
    they may be made of what the candidate answered or raised: none must be able to say that its problem cannot be graded."""
    try:
        words = encode(question, [])
    except TooDeep as error:
        if calls:
            raise CandidateFailed("an argument that depends on its answers is %s" % error)
        raise Unfit("an argument of a test is %s" % error)
    if sum(map(len, words)) > MOST_BYTES:
        if calls:
            raise CandidateFailed("an argument that depends on its answers is longer than %d bytes" % MOST_BYTES)
        raise Unfit("an argument of a test is longer than %d bytes" % MOST_BYTES)
    if "O" in [word[0] for word in words]:
        if comes_from_program(question):
            raise CandidateFailed("it answered no literal, and a test passes that on")
        raise Unfit("an argument of a test is neither a literal nor made of literals")


def comes_from_program(value):
    """Whether a value contains what a program answered or raised that is no literal. It is not too deep."""
    if type(value) is Opaque or isinstance(value, BaseException):
        return type(value) is Opaque or hasattr(value, "of_program")
    items = [*value.keys(), *value.values()] if isinstance(value, dict) else value
    return isinstance(value, (list, tuple, set, frozenset, dict)) and any(map(comes_from_program, items))


def list_names(code):
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, type(code)):
            names |= list_names(constant)
    return names


def list_parts(tree):
    """The nodes of a syntax tree. Without recursion: an expression may be deeper than that can go."""
    parts = [tree]
    for part in parts:
        parts += part if isinstance(part, list) else [getattr(part, name, None) for name in getattr(part, "_fields", ())]
    return parts


def expects_stop(test):
    """Whether an `except` or a `with` of a test could catch a `StopIteration`."""
    if "except" not in test and "with" not in test:
        return False
    named = []
    for part in list_parts(compile(test, "tests.py", "exec", ONLY_TREE, dont_inherit=True)):
        kind = type(part).__name__
        if kind == "ExceptHandler" and part.type is None:
            return True
        if kind in ("ExceptHandler", "withitem"):
            named += list_parts(part.type if kind == "ExceptHandler" else part.context_expr)
    return any(getattr(part, "id", getattr(part, "attr", None)) in CATCHING for part in named)


def prepare(problem, space):
    for part in problem["before"]:
        try:
            exec(compile(part, "reference.py", "exec", dont_inherit=True), space)
        except BaseException as error:
            raise Unfit("the reference solution raises %s: %s" % describe(error)[::2])
    try:
        return [compile(test, "tests.py", "exec", dont_inherit=True) for test in problem["tests"]]
    except (SyntaxError, ValueError) as error:
        raise Unfit("the tests are no Python: %s" % error)


def is_of_reference(value):
    """Whether the reference made it: a function or class of its own, or what `functools` and `operator` made for it. What they made for
    another module has the name of that one."""
    home, maker = getattr(value, "__module__", None), type(value).__module__
    made = not isinstance(value, type) and maker in ("functools", "operator") and home == maker
    return callable(value) and (home == "reference" or made)


def replace_by_proxies(names, space, has_reference):
    """Every function of the reference that the tests name; without a reference, every name that nothing defines."""
    if has_reference:
        own = [name for name in names if is_of_reference(space.get(name))]
    else:
        own = [name for name in names if name not in space and not hasattr(builtins, name)]
    for name in own:
        space[name] = make_proxy(name)
    return own


def run_tests(tests, names, space, has_reference):
    if not replace_by_proxies(names, space, has_reference):
        raise Unfit("no test calls a function of the solution")
    for test in tests:
        exec(test, space)


def run_check(tests, names, space, has_reference, entry):
    """As if the tests stood behind the program: the function has its own name, too. Its helpers are those of the reference, which stand
    in the prompt; without one, every name that nothing defines is the candidate's."""
    if not has_reference:
        replace_by_proxies([name for name in names if name != "check"], space, False)
    space[entry] = proxy = make_proxy(entry)
    for test in tests:
        exec(test, space)
    if not callable(space.get("check")):
        raise Unfit("`test` defines no function `check`")
    space["check"](proxy)


def run(problem):
    global stop_is_expected
    module = type(sys)("reference")
    sys.modules["reference"] = module
    space = module.__dict__
    tests = prepare(problem, space)
    names = sorted(set().union(*map(list_names, tests)))
    stop_is_expected = any(map(expects_stop, problem["tests"]))
    entry, has_reference = problem["entry"], problem["reference"]
    if entry is not None and has_reference and not callable(space.get(entry)):
        raise Unfit("the reference solution defines no function %s" % entry)
    if problem["inputs"] is not None:
        compare_outputs(problem, space)
    elif entry is None:
        run_tests(tests, names, space, has_reference)
    else:
        run_check(tests, names, space, has_reference, entry)
    if calls == 0:
        raise Unfit("no test calls %s" % (entry or "a function of the solution"))


def find_line(error):
    """The line of the tests where an error came up."""
    place, line = error.__traceback__, 0
    while place is not None:
        if place.tb_frame.f_code.co_filename == "tests.py":
            line = place.tb_lineno
        place = place.tb_next
    return line


def judge():
    send("hello", 0, sys.version.split()[0])
    _, number, problem = receive()
    try:
        run(problem)
    except CandidateFailed as error:
        return "raised", str(error), 0
    except Unfit as error:
        return "unfit", str(error), 0
    except BaseException as error:
        name, _, text = describe(error)
        if calls == 0:
            return "unfit", "the tests raise %s: %s before they call a function of the solution" % (name, text), 0
        kind = "raised" if hasattr(error, "of_program") else "assertion" if isinstance(error, AssertionError) else "test-error"
        return kind, "%s: %s" % (name, text) if text else name, find_line(error)
    return "passed", "", 0


send("verdict", calls, judge())

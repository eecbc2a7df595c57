# The trusted interpreter: it runs the reference solution and the tests, and asks the candidate by messages.


class CandidateFailed(BaseException):
    """The candidate failed in a way that no test can expect."""


class Unfit(BaseException):
    """The problem cannot be graded, whatever the candidate is."""


calls = 0
answered = False
raised = None


def ask(name, arguments, named):
    global answered, calls, raised
    calls += 1
    send("call", calls, (name, arguments, named))
    try:
        kind, _, value = receive()
        if kind == "answer":
            answered = True
            return value
        if kind != "raised":
            raise CandidateFailed("%s: %s" % (kind, value))
        names, text = value[1], str(value[2])
        kinds = [getattr(builtins, str(name), None) for name in names]
    except (TypeError, ValueError, IndexError) as error:
        raise CandidateFailed("an answer is no value: %s" % error)
    for base in kinds:
        if isinstance(base, type) and issubclass(base, Exception):
            try:
                raised = base(text)
            except TypeError:
                continue
            raise raised
    raise CandidateFailed("%s: %s" % (value[0], text))


def make_proxy(name):
    def call(*arguments, **named):
        refuse_unsayable((name, arguments, named))
        return ask(name, arguments, named)

    return call


def refuse_unsayable(question):
    """Arguments must be literals: the candidate could not work with anything else. That they are not is the fault of the test, unless
    they are made of what the candidate answered: no candidate must be able to say that its problem cannot be graded."""
    try:
        words = encode(question, [])
    except TooDeep as error:
        if answered:
            raise CandidateFailed("an argument that depends on its answers is %s" % error)
        raise Unfit("an argument of a test is %s" % error)
    if "O" in [word[0] for word in words]:
        if has_answered_opaque(question):
            raise CandidateFailed("it answered no literal, and a test passes that on")
        raise Unfit("an argument of a test is neither a literal nor made of literals")


def has_answered_opaque(value):
    """Whether a value contains what a candidate answered that is no literal. It is not too deep."""
    if type(value) is Opaque:
        return True
    items = [*value.keys(), *value.values()] if isinstance(value, dict) else value
    return isinstance(value, (list, tuple, set, frozenset, dict)) and any(map(has_answered_opaque, items))


def list_names(code):
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, type(code)):
            names |= list_names(constant)
    return names


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


def replace_by_proxies(tests, space, has_reference):
    """Every function of the reference that the tests name; without a reference, every name that nothing defines."""
    used = sorted(set().union(*map(list_names, tests)))
    if has_reference:
        own = [name for name in used if getattr(space.get(name), "__module__", None) == "reference"]
    else:
        own = [name for name in used if name not in space and not hasattr(builtins, name)]
    for name in own:
        space[name] = make_proxy(name)
    return own


def run(problem):
    module = type(sys)("reference")
    sys.modules["reference"] = module
    space = module.__dict__
    tests = prepare(problem, space)
    entry = problem["entry"]
    if problem["inputs"] is not None:
        return compare_outputs(problem, space)
    if entry is None:
        if not replace_by_proxies(tests, space, problem["reference"]):
            raise Unfit("no test calls a function of the solution")
        for test in tests:
            exec(test, space)
        return
    for test in tests:
        exec(test, space)
    if not callable(space.get("check")):
        raise Unfit("`test` defines no function `check`")
    space["check"](make_proxy(entry))


def copy(value):
    return decode("".join(encode(value, [])).encode("ascii"), 0)[0]


def are_floats(value):
    return isinstance(value, float) or (
        isinstance(value, (list, tuple)) and bool(value) and all(isinstance(item, float) for item in value)
    )


def is_close(given, expected, tolerance):
    if isinstance(expected, (list, tuple)):
        same = type(given) is type(expected) and len(given) == len(expected)
        return same and all(is_close(*pair, tolerance) for pair in zip(given, expected))
    if not all(isinstance(item, (int, float)) for item in (given, expected)):
        return given == expected
    return given == expected or abs(given - expected) <= tolerance + 1e-7 * abs(expected)


def compare_outputs(problem, space):
    """The rule of EvalPlus: equal, or floats within a tolerance."""
    entry = problem["entry"]
    reference, candidate = space.get(entry), make_proxy(entry)
    if not callable(reference):
        raise Unfit("the reference solution defines no function %s" % entry)
    for at, arguments in enumerate(problem["inputs"]):
        expected = reference(*copy(arguments))
        try:
            expected = copy(expected)
        except TooDeep as error:
            raise Unfit("the reference solution returns %s" % error)
        given = candidate(*arguments)
        tolerance = problem["tolerance"]
        if tolerance == 0 and are_floats(expected):
            tolerance = 1e-6
        assert given == expected or (tolerance and is_close(given, expected, tolerance)), "input %d" % (at + 1)


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
        kind = "raised" if error is raised else "assertion" if isinstance(error, AssertionError) else "test-error"
        return kind, "%s: %s" % (name, text) if text else name, find_line(error)
    return "passed", "", 0


send("verdict", calls, judge())

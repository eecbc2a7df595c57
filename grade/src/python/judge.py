# The trusted interpreter: it runs the reference solution and the tests, and asks the candidate by messages.


class CandidateFailed(BaseException):
    """The candidate failed in a way that no test can expect."""


class Unfit(BaseException):
    """The problem cannot be graded, whatever the candidate is."""


calls = 0
answered = False
raised = None

# Longest text of a candidate that is kept, in letters: a candidate may write anything instead of an exception.
LONGEST = 300

# Longest question, as `MAX_BYTES` in literal.rs.
MOST_BYTES = 1 << 20

# What a test names that catches a `StopIteration`.
CATCHING = {"StopIteration", "Exception", "BaseException"}
stop_is_expected = False


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
                raised = base(text)
            except TypeError:
                continue
            raise raised
    raise CandidateFailed("%s: %s" % (own, text))


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
    if sum(map(len, words)) > MOST_BYTES:
        if answered:
            raise CandidateFailed("an argument that depends on its answers is longer than %d bytes" % MOST_BYTES)
        raise Unfit("an argument of a test is longer than %d bytes" % MOST_BYTES)
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


def is_of_reference(value):
    """Whether the reference made it: a function or class of its own, or what `functools` and `operator` made for it."""
    return getattr(value, "__module__", None) == "reference" or (
        callable(value) and not isinstance(value, type) and type(value).__module__ in ("functools", "operator")
    )


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
    stop_is_expected = not CATCHING.isdisjoint(names)
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


def each(change):
    return lambda values: [change(value) for value in values]


def only(at, change):
    return lambda values: values[:at] + [change(values[at])] + values[at + 1 :]


def without_lists(value):
    return tuple(map(without_lists, value)) if isinstance(value, list) else value


# What arguments stand for that came as JSON, by the words of problem/evalplus.rs.
SHAPES = {
    None: lambda values: values,
    "tuples": each(tuple),
    "lists of tuples": each(each(tuple)),
    "tuples of tuples": each(lambda value: tuple(map(tuple, value))),
    "first a list of tuples": only(0, each(tuple)),
    "first a tuple": only(0, tuple),
    "first a mixed tuple": only(0, lambda value: tuple(tuple(item) if isinstance(item, list) else item for item in value)),
    "first a list of sets": only(0, each(lambda item: set(item) if isinstance(item, list) and item else {})),
    "first a table of tuples": only(0, lambda table: {key: tuple(value) for key, value in table.items()}),
    "first complex": only(0, complex),
    "second a tuple": only(1, tuple),
    "float and complex": lambda values: [float(values[0]), complex(values[1])],
    "no lists": each(without_lists),
}


def find_surface(edge, height):
    """Of a square pyramid, from the height of its apex."""
    slant = ((edge / 2) ** 2 + height**2) ** 0.5
    return round(edge**2 + 2 * edge * slant)


def sum_digit_distances(first, second):
    """Of two numbers, the shorter one filled with zeros."""
    width = max(len(str(first)), len(str(second)))
    return sum(abs(int(a) - int(b)) for a, b in zip(str(first).zfill(width), str(second).zfill(width)))


# Whether an output is right, by the words of problem/evalplus.rs: of arguments, output, expected output, tolerance.
RULES = {
    None: lambda arguments, given, expected, tolerance: given == expected,
    "root": lambda arguments, given, expected, tolerance: abs(
        sum(factor * given**power for power, factor in enumerate(arguments[0]))
    )
    <= tolerance,
    "anything": lambda arguments, given, expected, tolerance: True,
    "or zero": lambda arguments, given, expected, tolerance: given == expected or given == 0,
    "or surface": lambda arguments, given, expected, tolerance: given == expected
    or abs(given - find_surface(*arguments)) <= tolerance,
    "or digits": lambda arguments, given, expected, tolerance: given == expected
    or given == sum_digit_distances(*arguments),
    "as sets": lambda arguments, given, expected, tolerance: set(given) == set(expected),
    "not none": lambda arguments, given, expected, tolerance: expected
    == (given if isinstance(given, bool) else given is not None),
}


def find_expected(problem, reference):
    """The arguments of each input, and what the reference solution returns for them. All at once, so that a reference at fault is found
    whatever the candidate is."""
    shape, pairs = SHAPES[problem["shape"]], []
    for at, arguments in enumerate(problem["inputs"]):
        try:
            arguments = shape(arguments)
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            raise Unfit("input %d is not that of MBPP+: %s" % (at + 1, error))
        try:
            expected = reference(*copy(arguments))
            if problem["rule"] == "not none":
                expected = expected is not None
            pairs.append((arguments, copy(expected)))
        except TooDeep as error:
            raise Unfit("the reference solution returns %s" % error)
        except BaseException as error:
            raise Unfit("the reference solution raises %s: %s, of input %d" % (*describe(error)[::2], at + 1))
    return pairs


def compare_outputs(problem, space):
    """The rule of EvalPlus: equal, or floats within a tolerance; or a rule of the problem's own."""
    pairs, candidate = find_expected(problem, space[problem["entry"]]), make_proxy(problem["entry"])
    rule, tolerance = RULES[problem["rule"]], problem["tolerance"]
    for at, (arguments, expected) in enumerate(pairs):
        given = candidate(*arguments)
        right = rule(arguments, given, expected, tolerance)
        if problem["rule"] == "root":
            assert right, "input %d" % (at + 1)
            continue
        # As in EvalPlus, it holds for the inputs that follow, too.
        if tolerance == 0 and are_floats(expected):
            tolerance = 1e-6
        same_type = type(given) is type(expected)
        assert right or (tolerance and same_type and is_close(given, expected, tolerance)), "input %d" % (at + 1)


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
        kind = "raised" if error is raised else "assertion" if isinstance(error, AssertionError) else "test-error"
        return kind, "%s: %s" % (name, text) if text else name, find_line(error)
    return "passed", "", 0


send("verdict", calls, judge())

# Compares outputs with those of the reference solution, as EvalPlus does. For the trusted interpreter.


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
            expected = copy(expected)
        except TooDeep as error:
            raise Unfit("the reference solution returns %s" % error)
        except BaseException as error:
            raise Unfit("the reference solution raises %s: %s, of input %d" % (*describe(error)[::2], at + 1))
        if problem["rule"] != "anything" and comes_from_program(expected):
            # Nothing equals it, so every program would fail.
            raise Unfit("the reference solution returns no literal, for input %d" % (at + 1))
        pairs.append((arguments, expected))
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



# The interpreter that runs the program of a model and answers calls. Nothing that happens here can be trusted.


def load(source):
    module = type(sys)("solution")
    sys.modules["solution"] = module
    try:
        code = compile(source, "solution.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        return "syntax", None, describe(error)
    exec(code, module.__dict__)
    return "loaded", module.__dict__, None


def answer(space, request):
    name, arguments, named = request
    return space[name](*arguments, **named)


def serve():
    space = {}
    send("hello", 0, sys.version.split()[0])
    while True:
        kind, number, value = receive()
        try:
            if kind == "load":
                word, space, found = load(value)
                send(word, number, found)
            elif value[0] not in space:
                send("missing", number, value[0])
            else:
                found = answer(space, value)
                try:
                    send("answer", number, found)
                except TooDeep as error:
                    send("unsayable", number, str(error))
        except BaseException as error:
            send("raised", number, describe(error))


serve()

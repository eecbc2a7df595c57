//! fmflow: the language, the plan, the store and the command line. It knows no tensor.

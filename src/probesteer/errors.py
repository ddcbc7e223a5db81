"""The one exception that means: what the user gave is wrong."""


class InputError(Exception):
    """A file, key, flag or value given by the user is wrong.

    The message is one line: what is wrong, where, what to do. The CLI prints it and exits with 2.
    """

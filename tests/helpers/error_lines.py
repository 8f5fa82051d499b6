"""The one line in which the command tells of an error."""


def only_error(text: str) -> str:
    """Returns the error among what a command printed, after checking that it is one short line."""
    assert "Traceback" not in text
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, text
    assert text.splitlines()[-1] == errors[0]
    assert len(errors[0]) < 600
    return errors[0]

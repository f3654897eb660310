"""Run several `manage.py model` commands in one process, as each start of Python takes a while.

Takes a JSON list of word lists, prints a JSON list of [succeeded, what was said].
"""

from __future__ import annotations

import io
import json
import sys

import django


def main(commands: list[list[str]]) -> None:
    django.setup()
    from django.core.management import CommandError, call_command

    answers = []
    for words in commands:
        said = io.StringIO()
        try:
            call_command("model", *words, stdout=said, stderr=said)
            answers.append([True, said.getvalue()])
        except CommandError as error:
            answers.append([False, f"{said.getvalue()}{error}"])
    print(json.dumps(answers))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

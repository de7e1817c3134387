"""The process that has the model: it answers the question on its standard input."""

from __future__ import annotations

import os
import sys

import msgspec

from engine.core.errors import INSTALL_LLM, UserError
from engine.llm.evaluation.ask import Answer, Question


def main() -> int:
    """Answer the question on stdin, line by line on stdout, where nothing else may write."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def send(answer: Answer) -> None:
        channel.write(msgspec.json.encode(answer).decode() + "\n")
        channel.flush()

    question = msgspec.json.decode(sys.stdin.buffer.read(), type=Question)
    try:
        from engine.llm.evaluation.answers import reply  # torch takes seconds to import

        answer = reply(question, lambda text: send(Answer(progress=text)))
    except UserError as error:
        send(Answer(error=str(error)))
        return 1
    except ModuleNotFoundError as error:
        text = f"Asking a language model needs {error.name}, which is not installed: "
        send(Answer(error=text + INSTALL_LLM))
        return 1
    send(answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())

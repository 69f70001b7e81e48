"""`uma demonstrate COMMAND`: begin, end or discard a demonstration of the running recorder."""

from __future__ import annotations

import sys
from dataclasses import MISSING, dataclass

from uma.settings import from_words, setting
from uma_ros.runtime.client import called
from uma_ros.runtime.names import NAMESPACE, check_namespace, full_name
from uma_ros.srv import Episode

WORDS = ("start", "success", "failure", "discard-last", "status")


@dataclass(frozen=True)
class DemonstrateOptions:
    """Begin or end a demonstration of the recorder that `uma up TASK --demonstrations FOLDER` starts."""

    command: str = setting(
        MISSING, "start; success or failure end it; discard-last moves the last one away; or status", choices=WORDS
    )
    text: str = setting("", "start: the instruction of the task, for the training data")
    namespace: str = setting("", NAMESPACE)
    timeout: float = setting(20.0, "s; longest wait for the recorder", 0.1, 3600.0)

    def __post_init__(self) -> None:
        check_namespace(self.namespace)


def main(argv: list[str]) -> int:
    """Run the command. Return 0, or 1 if the recorder refuses or does not answer."""
    args = from_words(DemonstrateOptions, argv, "uma demonstrate")
    request = Episode.Request(command=args.command.replace("-", "_"), text=args.text)
    answer = called(Episode, full_name("uma/episode", args.namespace), request, args.timeout)
    if answer is None:
        print(
            f"no recorder answers within {args.timeout:g} s; `uma up TASK --demonstrations FOLDER` starts one",
            file=sys.stderr,
        )
        return 1
    if not answer.success:
        print(answer.message, file=sys.stderr)
        return 1
    if args.command != "status":
        print(answer.message)
    number = f"episode {answer.episode}{' runs' if answer.is_recording else ''}" if answer.episode else "no episode yet"
    print(
        f"{number}; {answer.num_success} success, {answer.num_failure} failure, {answer.num_unmarked} unmarked, "
        f"{answer.num_discarded} discarded"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

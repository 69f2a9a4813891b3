"""A process of a deployment in company: `python -m ops.bench._process CONTEXTS READERS ONLY worker --slot 1`."""

import sys

from ops import compose
from ops.bench._crowd import Crowd, Crowded
from ops.cli import main
from ops.local.kafka_config import User


def run() -> None:
    """What the command line runs, with another composition: it composes by this one name."""
    crowd = Crowd.of(*sys.argv[1:4])

    usual = compose.deployment

    def deployment(user: User = "readers") -> Crowded:
        return Crowded(usual(user).settings, crowd)

    compose.deployment = deployment
    sys.argv[1:4] = []
    main()


if __name__ == "__main__":
    run()

"""Asking inference: open a request with the decision that the router took for it."""

from commands import Service
from contracts.inference import InferenceCommand
from domain.inference import Request


class Inference(Service):
    """Requests for tokens."""

    def handle(self, command: InferenceCommand) -> None:
        self.load(Request).open(command, self.asked.now)

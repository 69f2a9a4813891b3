"""What may be paid: nothing that was not first received or minted, and nobody's amount ever falls (white paper 9)."""

from domain.rewards.earners import Earner
from domain.rewards.emission import Emission
from domain.rewards.epochs import Epoch
from domain.rewards.fees import FeeStream
from domain.rewards.grants import Grant
from domain.rewards.models import Model
from domain.rewards.positions import Position

__all__ = ["Earner", "Emission", "Epoch", "FeeStream", "Grant", "Model", "Position"]

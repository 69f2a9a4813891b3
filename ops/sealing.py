"""Sealing for the people who send commands, and opening for those who may read: the vault and the log's word on its keys."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from adapters.sealing import Opened, Place, seal, unseal
from adapters.vault import Destroyed, Vault
from contracts import Sealed
from contracts.custody import CreateKey
from ops.asking import Asking
from ops.compose import Deployment, open_engine

MARK = "$seal"
"""In a line of `spaceos send`: `{"$seal": "Ada Lovelace", "person": "ada", "class": "kyc"}` is sealed before it is signed."""


def open_vault(deployment: Deployment) -> Vault:
    """The deployment's vault; its masters are beside the keys."""
    return Vault(open_engine(deployment.settings.vault, "vault"), deployment.settings.keys)


class Sealer:
    """Seals texts for commands of this deployment. A key that is made is stated in the log before it is used."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment, self._vault = deployment, open_vault(deployment)

    async def seal(self, text: str, person: str, place: Place, retention_class: str = "none") -> Sealed:
        """Raises ops.asking.NotAccepted where the log would not have the key."""
        year = datetime.now(UTC).year
        found, is_new = self._vault.key_for(person, retention_class, year)
        if is_new:
            command = CreateKey.read({"kind": "sealing", "retention_class": retention_class, "year": year})
            try:
                await Asking(self._deployment, "process")((command, f"custody/key/{found.key}"))
            except BaseException:
                self._vault.destroy([found.key])
                raise
        return seal(text, found.key, self._vault.open(found.key), place)

    async def seal_marked(self, data: Any, place: Place) -> Any:
        """The data with every marked text sealed; `place.path` is where it stands."""
        if isinstance(data, dict) and MARK in data:
            given = {"person": "", "class": "none", **data}
            return (await self.seal(given[MARK], given["person"], place, given["class"])).model_dump(mode="json")
        if isinstance(data, dict):
            return {name: await self.seal_marked(value, _below(place, name)) for name, value in data.items()}
        if isinstance(data, list):
            return [await self.seal_marked(value, _below(place, str(n))) for n, value in enumerate(data)]
        return data


def is_marked(data: Any) -> bool:
    """Whether something in it is to be sealed."""
    parts = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return (isinstance(data, dict) and MARK in data) or any(map(is_marked, parts))


def sealed_fields(data: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every sealed field of a record's data with its JSON pointer."""
    if isinstance(data, dict) and data.get("sealed") == 1 and "commitment" in data:
        yield path, data
    elif isinstance(data, dict):
        for name, value in data.items():
            yield from sealed_fields(value, f"{path}/{name}")
    elif isinstance(data, list):
        for n, value in enumerate(data):
            yield from sealed_fields(value, f"{path}/{n}")


def openings(vault: Vault, document: Mapping[str, Any]) -> Iterator[tuple[str, str, Opened | None]]:
    """Each sealed field of an event: its pointer, its key, and what it says; None where the key is destroyed.

    Raises adapters.sealing.NotOpened where a ciphertext stands at another place than it was sealed for.
    """
    for path, found in sealed_fields(document["data"]):
        # An event takes a field over from its command under the same name, so it is bound to the command's id.
        place = Place(document["network"], document["subject"], document["causationid"], path)
        try:
            key = vault.open(found["key"])
        except Destroyed:
            yield path, found["key"], None
        else:
            yield path, found["key"], unseal(Sealed.model_validate(found), key, place)


def _below(place: Place, name: str) -> Place:
    return Place(place.network, place.stream, place.command, f"{place.path}/{name}")

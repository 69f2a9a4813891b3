"""Changing single settings of topics that exist: the rest of them stays as it is.

aiokafka 0.14 has only AlterConfigs, which sets a topic's other settings back to what the broker does by default.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from aiokafka.admin.config_resource import ConfigResourceType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int8, Int16, Int32, Schema, String

_SET: Final = 0
# Its class variables are properties there, and every answer of aiokafka's own overrides them so.
_Response: Any = Response


class _Answer(_Response):  # type: ignore[misc]
    API_KEY: ClassVar[int] = 44
    API_VERSION: ClassVar[int] = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "resources",
            Array(
                ("error_code", Int16),
                ("error_message", String("utf-8")),
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
            ),
        ),
    )


class _Question(RequestStruct):  # type: ignore[misc]
    API_KEY: ClassVar[int] = 44
    API_VERSION: ClassVar[int] = 0
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                (
                    "configs",
                    Array(("name", String("utf-8")), ("operation", Int8), ("value", String("utf-8"))),
                ),
            ),
        ),
        ("validate_only", Boolean),
    )


class AlterSettings(Request[_Question]):  # type: ignore[misc]
    """IncrementalAlterConfigs, of topics: each setting by its name.

    The answer's `resources` have an error code and a message each, then type and name.
    """

    API_KEY: ClassVar[int] = 44

    def __init__(self, topics: Mapping[str, Mapping[str, str]]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_Question]) -> Any:
        """For the client, which knows what versions the broker has."""
        rows = [
            (int(ConfigResourceType.TOPIC), topic, [(name, _SET, value) for name, value in settings.items()])
            for topic, settings in self._topics.items()
        ]
        return request_struct_class(rows, False)

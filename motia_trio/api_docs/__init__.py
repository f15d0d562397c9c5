"""What the documents about an app, OpenAPI's and AsyncAPI's, are made of."""

from motia_trio.api_docs.answers import (
    HEADERS,
    OWN_ANSWERS,
    TRACE_ID,
    OwnAnswer,
    own_statuses,
    reference_to,
)
from motia_trio.api_docs.bodies import (
    JSON,
    answer_types,
    query_parameters,
    request_types,
    takes_nothing,
)
from motia_trio.api_docs.drafts import Node, modernise, to_draft_07, walk
from motia_trio.api_docs.names import describe, humanise, identifier, info_of, tags_of, unique
from motia_trio.api_docs.paths import Parameter, PathItem, Paths
from motia_trio.api_docs.schemas import Schemas

__all__ = [
    "HEADERS",
    "JSON",
    "OWN_ANSWERS",
    "TRACE_ID",
    "Node",
    "OwnAnswer",
    "Parameter",
    "PathItem",
    "Paths",
    "Schemas",
    "answer_types",
    "describe",
    "humanise",
    "identifier",
    "info_of",
    "modernise",
    "own_statuses",
    "query_parameters",
    "reference_to",
    "request_types",
    "tags_of",
    "takes_nothing",
    "to_draft_07",
    "unique",
    "walk",
]

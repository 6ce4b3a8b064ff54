"""The .proto files -> the page of the gRPC API: services, messages and enumerations.

What is declared comes from the generated descriptors, what it means from the comments, which the
compiler leaves out.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    ServiceDescriptorProto,
)

from honed_proto.v1 import feedback_pb2, inference_pb2, models_pb2

ROOT = Path(__file__).parents[2]
_PACKAGE = ".honed.v1."


def grpc_reference() -> str:
    """Markdown of the whole API; KeyError if something in it has no comment."""
    lines: list[str] = []
    for module in (inference_pb2, feedback_pb2, models_pb2):
        file = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        comments = read_comments((ROOT / "proto" / file.name).read_text())
        lines += [f"## {Path(file.name).name}\n", comments[""], ""]
        for service in file.service:
            lines += _service(service, comments)
        for message in file.message_type:
            lines += _message(message, comments)
        for enum in file.enum_type:
            lines += _enum(enum, enum.name, comments)
    return "\n".join(lines)


def read_comments(proto: str) -> dict[str, str]:
    """The comment of each declaration by its path such as "Model.name"; "" names the file."""
    comments: dict[str, str] = {}
    scopes: list[str] = []
    pending: list[str] = []
    for line in map(str.strip, proto.splitlines()):
        if line.startswith("//"):
            pending.append(line.removeprefix("//").strip())
            continue
        block = re.match(r"(?:message|enum|service|oneof) (\w+) {", line)
        found = (
            block or re.match(r"(?:rpc|syntax) ?(\w*)", line) or re.match(r".*?(\w+) = \d+;", line)
        )
        if found:
            path = [*scopes, found[1]] if found[1] else []
            comments[".".join(filter(None, path))] = " ".join(pending)
            pending = []
        if block and not line.endswith("}"):
            # Fields of a oneof belong to the message around it.
            scopes.append("" if line.startswith("oneof") else block[1])
        elif line == "}":
            scopes.pop()
    return comments


def _service(service: ServiceDescriptorProto, comments: dict[str, str]) -> Iterator[str]:
    yield f"### service {service.name} {{: #honed.v1.{service.name} }}\n"
    yield comments[service.name] + "\n"
    for method in service.method:
        path = f"{service.name}.{method.name}"
        sent = "stream of " * method.client_streaming + _link(method.input_type)
        received = "stream of " * method.server_streaming + _link(method.output_type)
        yield f"#### {path} {{: #honed.v1.{path} }}\n"
        yield f"{sent} → {received}\n"
        yield comments[path] + "\n"


def _message(message: DescriptorProto, comments: dict[str, str], scope: str = "") -> Iterator[str]:
    path = f"{scope}{message.name}"
    yield f"### {path} {{: #honed.v1.{path} }}\n"
    yield comments[path] + "\n"
    if message.field:
        yield "| field | type | meaning |\n|---|---|---|"
        for field in message.field:
            meaning = comments[f"{path}.{field.name}"]
            yield f"| `{field.name}` | {_type(field)} | {meaning} |"
        yield ""
    for enum in message.enum_type:
        yield from _enum(enum, f"{path}.{enum.name}", comments)


def _enum(enum: EnumDescriptorProto, path: str, comments: dict[str, str]) -> Iterator[str]:
    yield f"### {path} {{: #honed.v1.{path} }}\n"
    yield comments[path] + "\n"
    yield "| value | number | meaning |\n|---|---|---|"
    for value in enum.value:
        yield f"| `{value.name}` | {value.number} | {comments[f'{path}.{value.name}']} |"
    yield ""


def _type(field: FieldDescriptorProto) -> str:
    repeated = "repeated " * (field.label == FieldDescriptorProto.LABEL_REPEATED)
    if field.type_name:
        return repeated + _link(field.type_name)
    return repeated + FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def _link(type_name: str) -> str:
    if not type_name.startswith(_PACKAGE):
        return type_name.removeprefix(".")
    name = type_name.removeprefix(_PACKAGE)
    return f"[{name}](#honed.v1.{name})"

"""Answers HTTP requests in Python, for the world `wasi:http/proxy`."""

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.types import Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        path = (request.path_with_query() or "/").partition("?")[0]
        if path == "/hello":
            respond(response_out, 200, [b"hello from Python\n"])
        elif path == "/echo":
            respond(response_out, 200, pieces(request))
        else:
            respond(response_out, 404, [b"no such path\n"])


def respond(response_out, status, body):
    response = OutgoingResponse(Fields.from_list([("x-language", b"Python")]))
    response.set_status_code(status)
    outgoing = response.body()
    ResponseOutparam.set(response_out, Ok(response))
    with outgoing.write() as stream:
        for piece in body:
            for start in range(0, len(piece), 4096):
                stream.blocking_write_and_flush(piece[start : start + 4096])
    OutgoingBody.finish(outgoing, None)


def pieces(request):
    """Yields the body of the request as it arrives."""
    with request.consume() as incoming, incoming.stream() as stream:
        while True:
            try:
                yield stream.blocking_read(1 << 16)
            except Err as error:
                if isinstance(error.value, StreamError_Closed):
                    return
                raise

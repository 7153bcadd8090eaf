"""A server and a client of gRPC's own implementation (the C core) that make calls of every kind, for tests/grpc.rs.

Prints its port, waits for a line on standard input, makes the calls one after the other, and prints for each what the client got as a
line of JSON. Messages are bytes without a schema: what is compared is around them.
"""

import json
import sys
import threading
from concurrent import futures

import grpc

SERVICE = "shop.v1.Cart"
RAW = dict(request_deserializer=None, response_serializer=None)
SENT = [("x-order", "first"), ("x-trace-bin", b"\x00\xff\x10"), ("x-order", "second"), ("x-empty", "")]
BIG = [("x-big", "b" * 3000)] + [(f"x-many-{n}", str(n)) for n in range(40)]


def answer(context):
    context.send_initial_metadata([("x-head", "h"), ("x-head-bin", b"\x01\x02")])
    context.set_trailing_metadata([("x-tail", "t"), ("x-tail-bin", b"\xfe")])


def unary(request, context):
    answer(context)
    return request


def compressed(request, context):
    context.set_compression(grpc.Compression.Gzip)
    return request * 100


def collect(requests, context):
    answer(context)
    return b"".join(requests)


def spread(request, context):
    answer(context)
    for n in range(5):
        yield request + bytes([n])


def both(requests, context):
    answer(context)
    for request in requests:
        yield request


def fail(request, context):
    answer(context)
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "kein Plätzchen: 100 % weg\n")


def secret(request, context):
    context.abort(grpc.StatusCode.UNAUTHENTICATED, "bad key ghp_0123456789abcdefghijABCDEFGHIJ012345")


STOP = threading.Event()


def slow(request, context):
    STOP.wait(5)
    return request


def trickle(request, context):
    for n in range(4):
        yield request
        STOP.wait(0.2)


METHODS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary, **RAW),
    "Compressed": grpc.unary_unary_rpc_method_handler(compressed, **RAW),
    "Collect": grpc.stream_unary_rpc_method_handler(collect, **RAW),
    "Spread": grpc.unary_stream_rpc_method_handler(spread, **RAW),
    "Both": grpc.stream_stream_rpc_method_handler(both, **RAW),
    "Fail": grpc.unary_unary_rpc_method_handler(fail, **RAW),
    "Secret": grpc.unary_unary_rpc_method_handler(secret, **RAW),
    "Slow": grpc.unary_unary_rpc_method_handler(slow, **RAW),
    "Trickle": grpc.unary_stream_rpc_method_handler(trickle, **RAW),
}


def texts(metadata):
    return [[key, value if isinstance(value, str) else value.hex()] for key, value in metadata or []]


def tell(method, call, sent, error=None):
    end = error or call
    told = {
        "method": method,
        "sent": texts(sent),
        "code": end.code().value[0],
        "name": end.code().name,
        "details": end.details(),
        "head": texts(call.initial_metadata()),
        "tail": texts(end.trailing_metadata()),
    }
    print(json.dumps(told), flush=True)


def one(channel, method, sent=SENT, request=b"abc", **options):
    path = f"/{SERVICE}/{method}"
    try:
        _, call = channel.unary_unary(path).with_call(request, metadata=sent, **options)
        tell(method, call, sent)
    except grpc.RpcError as error:
        tell(method, error, sent, error)


def several(channel, method, request, kind, cancel_after=None, **options):
    call = getattr(channel, kind)(f"/{SERVICE}/{method}")(request, metadata=SENT, **options)
    error = None
    try:
        for count, _ in enumerate(call, 1):
            if count == cancel_after:
                call.cancel()
    except grpc.RpcError as caught:
        error = caught
    tell(method, call, SENT, error)


def main():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, METHODS)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.readline()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        one(channel, "Unary", timeout=5)
        one(channel, "Unary", sent=SENT + BIG)
        one(channel, "Compressed", compression=grpc.Compression.Gzip)
        _, call = channel.stream_unary(f"/{SERVICE}/Collect").with_call(iter([b"a", b"b"]), metadata=SENT)
        tell("Collect", call, SENT)
        several(channel, "Spread", b"x", "unary_stream")
        several(channel, "Both", iter([b"1", b"2", b"3"]), "stream_stream")
        one(channel, "Fail")
        one(channel, "Secret")
        one(channel, "Nowhere")
        one(channel, "Slow", timeout=0.3)
        several(channel, "Trickle", b"y", "unary_stream")
        several(channel, "Trickle", b"y", "unary_stream", cancel_after=2)
    STOP.set()
    server.stop(None).wait()


main()

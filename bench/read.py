#!/usr/bin/env python3
"""How fast `headtrail read` is on one core, beside `tshark -T fields` with the same fields, and how its memory grows with a file.

The file is made of captures: the IPv4 packets of those of Ethernet in which there is HTTP, again and again, each time with
other addresses, so that each time there are other connections, and with time that goes on. Each round times both on the same
core, in turns; the table gives the median of the rounds' ratios and the quartiles. What is compared is CPU time, which others on
the machine disturb less than time on the clock; both readers work in one thread.

    bench/read.py [--rounds N] [--sizes 100,300,1000] [--captures DIR] [--folder DIR] [--out FILE]
"""
import argparse
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
CPU = "1"
SNAP_LENGTH = 262144
# What a line of `--format json` holds, as far as tshark has it.
FIELDS = """frame.number frame.time_epoch tcp.stream ip.src tcp.srcport ip.dst tcp.dstport
ip.ttl ip.id ip.dsfield ip.flags tcp.seq_raw tcp.ack_raw tcp.flags tcp.window_size_value tcp.options
http.request.method http.request.uri http.request.version http.request.line
http.response.version http.response.code http.response.phrase http.response.line http.content_length http.time
http2.streamid http2.type http2.flags http2.header.name http2.header.value""".split()


def is_plain(path):
    """A pcap file of Ethernet, little-endian, with microseconds."""
    with open(path, "rb") as file:
        head = file.read(24)
    return head[:4] == b"\xd4\xc3\xb2\xa1" and struct.unpack_from("<I", head, 20)[0] & 0xFFFF == 1


def base(folder, headtrail):
    """The packets of the captures as one piece, and where in it their addresses and times are."""
    blob, places, clock_us, files = bytearray(), [], 0, 0
    for path in sorted(os.path.join(at, name) for at, _, names in os.walk(folder) for name in names):
        if ".pcap" not in path or path.endswith(".pcapng") or not is_plain(path):
            continue
        out = subprocess.run([headtrail, "read", "--format", "json", path], capture_output=True).stdout
        if not any(json.loads(line)["type"] == "transaction" for line in out.splitlines()):
            continue
        files += 1
        with open(path, "rb") as file:
            data = file.read()
        at, first_us, latest_us = 24, None, clock_us
        while at + 16 <= len(data):
            seconds, micros, captured, wire = struct.unpack_from("<IIII", data, at)
            frame = data[at + 16:at + 16 + captured]
            at += 16 + captured
            if len(frame) < 34 or frame[12:14] != b"\x08\x00":
                continue
            now_us = seconds * 1000000 + micros
            first_us = now_us if first_us is None else first_us
            # Silence is cut short, and time does not go back.
            latest_us = max(latest_us, min(clock_us + now_us - first_us, latest_us + 100000))
            places.append((len(blob), latest_us))
            blob += struct.pack("<IIII", 0, 0, captured, wire) + frame
        clock_us = latest_us + 2000000
    return blob, places, clock_us, files


def make(path, size, blob, places, span_us):
    """Writes a file of at least `size` bytes."""
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, SNAP_LENGTH, 1))
        turn = 0
        while file.tell() < size:
            piece = bytearray(blob)
            high, low = turn >> 8 & 0xFF, turn & 0xFF
            begin_us = 1700000000 * 1000000 + turn * span_us
            for at, us in places:
                us += begin_us
                struct.pack_into("<II", piece, at, us // 1000000, us % 1000000)
                # The middle of both addresses, the same way, so that both directions stay together.
                for octet in (at + 16 + 27, at + 16 + 31):
                    piece[octet] ^= high
                    piece[octet + 1] ^= low
            file.write(piece)
            turn += 1
    return turn


def timed(command):
    """Seconds, CPU seconds and peak memory in MiB of a command on one core, which writes to nowhere."""
    begin = time.monotonic()
    child = subprocess.Popen(["taskset", "-c", CPU, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    said = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    took = time.monotonic() - begin
    if status != 0:
        sys.exit(f"{command}: {said}")
    return took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, said


def spread(values):
    if len(values) < 4:
        return f"{statistics.median(values):.2f}"
    q = statistics.quantiles(values, n=4)
    return f"{statistics.median(values):.2f} ({q[0]:.2f}-{q[2]:.2f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", default="100,300,1000", help="MB; tshark reads the last one only")
    parser.add_argument("--captures", default=os.environ.get("HEADTRAIL_CAPTURES", f"{TOP}/../shared/captures"))
    parser.add_argument("--headtrail", default=f"{TOP}/target/release/headtrail")
    parser.add_argument("--folder", help="where the file is made; it takes the last size, and is deleted")
    parser.add_argument("--out", default=f"{TOP}/target/bench/read.md")
    args = parser.parse_args()
    if not os.path.isdir(args.captures):
        sys.exit(f"skipped: no captures at {args.captures}; HEADTRAIL_CAPTURES may name them")
    blob, places, span_us, files = base(args.captures, args.headtrail)
    folder = tempfile.mkdtemp(prefix="headtrail-bench-", dir=args.folder)
    path = f"{folder}/made.pcap"
    headtrail = [args.headtrail, "read", "--format", "json", path]
    tshark = ["tshark", "-n", "-r", path, "-Y", "http || http2", "-T", "fields"]
    tshark += [word for field in FIELDS for word in ("-e", field)]
    lines = []

    def say(text=""):
        print(text, flush=True)
        lines.append(text)

    try:
        say(f"{os.cpu_count()} CPUs, kernel {os.uname().release}; one core; {files} captures, {len(places)} packets, "
            f"{len(blob) / 1e6:.1f} MB, again and again\n")
        say("| file MB | reader | CPU s | s | MB per CPU s | peak MiB |\n|---|---|---|---|---|---|")
        sizes = [int(size) for size in args.sizes.split(",")]
        ratios = []
        for size in sizes:
            make(path, size * 1000000, blob, places, span_us)
            megabytes = os.path.getsize(path) / 1e6
            runs = {"headtrail": [], "tshark": []}
            last = size == sizes[-1]
            for _ in range(args.rounds if last else 1):
                runs["headtrail"].append(timed(headtrail))
                if last:
                    runs["tshark"].append(timed(tshark))
                    ratios.append(runs["tshark"][-1][1] / runs["headtrail"][-1][1])
            for name, results in runs.items():
                if results:
                    took, cpu = (statistics.median(r[i] for r in results) for i in (0, 1))
                    say(f"| {megabytes:.0f} | {name} | {cpu:.2f} | {took:.2f} | {megabytes / cpu:.0f} | {max(r[2] for r in results):.0f} |")
            print(runs["headtrail"][-1][3].strip(), flush=True)
        say(f"\ntshark's CPU time by headtrail's, {len(ratios)} rounds: {spread(ratios)}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(os.path.dirname(args.out), exist_ok=True)
    with open(args.out, "w") as f:
        f.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

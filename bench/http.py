#!/usr/bin/env python3
"""What Headtrail costs an nginx, beside nothing, an empty program, tcpdump and tshark, in turns on the same machine.

nginx has one worker pinned to CPU 0; wrk (h2load for HTTP/2 and for latency) and the logger share CPU 1. Each round runs every variant once, in
an order that rotates; ratios are taken within a round against `nothing`, and the table gives their median and the
first and third quartile. Nothing here is a time on an absolute scale: machines drift, ratios within a round do not.

    bench/http.py [--rounds N] [--seconds S] [--cases memory,proxy,…] [--variants …] [--out FILE]
"""
import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
PORT, UPSTREAM_PORT, STATUS_PORT, HTTP2_PORT = 19080, 19081, 19082, 19083
NGINX_CPU, LOAD_CPU = "0", "1"
PIN = "/sys/fs/bpf/headtrail-bench"

NGINX_CONF = """
worker_processes 1; worker_cpu_affinity 01; pid {dir}/nginx.pid; error_log {dir}/error.log; daemon off;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p;
  fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  upstream leg {{ server 127.0.0.1:{upstream}; keepalive 64; }}
  server {{ listen {port} backlog=4096;
    location / {{ return 200 "hello\\n"; }}
    location /1k {{ alias {dir}/1k; }}
    location /100k {{ alias {dir}/100k; }}
    location /proxy/ {{ proxy_pass http://leg/; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
  server {{ listen {http2} http2 backlog=4096; location / {{ return 200 "hello\\n"; }} }}
  server {{ listen {upstream} backlog=4096; location / {{ return 200 "upstream\\n"; }} }}
  server {{ listen {status}; location / {{ stub_status; }} }}
}}
"""

# name: (path, connections, transactions that Headtrail sees for each request that the client sends)
CASES = {
    "memory": ("/", 16, 1),
    "memory-1000": ("/", 1000, 1),
    "proxy": ("/proxy/", 16, 2),
    "1k": ("/1k", 16, 1),
    "100k": ("/100k", 16, 1),
    "100k-1000": ("/100k", 1000, 1),
    "http2": ("/", 16, 1),
}
VARIANTS = ["nothing", "empty", "busy", "headtrail", "tcpdump", "tshark"]


def cgroup_root():
    for line in open("/proc/self/mounts"):
        fields = line.split()
        if fields[2] == "cgroup2":
            return fields[1]
    sys.exit("no cgroup v2 hierarchy")


def run(*args, **kw):
    return subprocess.run(args, check=True, capture_output=True, text=True, **kw).stdout


def cpu_ns(pid):
    """CPU time of a process with all its threads, nanoseconds."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            total += int(open(f"/proc/{pid}/task/{task}/schedstat").read().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            pass
    return total


def user_system_ticks(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return int(fields[11]), int(fields[12])


def peak_kib(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1])
    return 0


class Nginx:
    def __init__(self, folder):
        os.makedirs(folder, exist_ok=True)
        for name, size in (("1k", 1024), ("100k", 102400)):
            with open(f"{folder}/{name}", "w") as f:
                f.write("x" * size)
        conf = f"{folder}/nginx.conf"
        with open(conf, "w") as f:
            f.write(NGINX_CONF.format(dir=folder, port=PORT, upstream=UPSTREAM_PORT, status=STATUS_PORT,
                                       http2=HTTP2_PORT))
        os.chmod(folder, 0o755)
        self.process = subprocess.Popen(["nginx", "-p", folder, "-c", conf])
        for _ in range(100):
            time.sleep(0.05)
            try:
                self.requests()
                break
            except subprocess.CalledProcessError:
                pass
        for path, _, _ in CASES.values():
            # nginx runs as somebody who may not read what root made.
            run("curl", "-sf", "-o", os.devnull, f"http://127.0.0.1:{PORT}{path}")
        self.worker = int(run("pgrep", "-P", str(self.process.pid)).split()[0])

    def requests(self):
        """nginx's own count of requests, this one left out of the difference between two calls."""
        text = run("curl", "-sf", f"http://127.0.0.1:{STATUS_PORT}/")
        return int(text.splitlines()[2].split()[2])

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Logger:
    """A variant that is attached while the load runs."""

    def __init__(self, variant, folder, headtrail):
        self.variant, self.process, self.out = variant, None, None
        self.error_path = f"{folder}/{variant}.err"
        pinned = ["taskset", "-c", LOAD_CPU]
        if variant == "empty":
            root = cgroup_root()
            shutil.rmtree(PIN, ignore_errors=True)
            run("bpftool", "prog", "loadall", f"{folder}/empty.o", PIN)
            run("bpftool", "cgroup", "attach", root, "ingress", "pinned", f"{PIN}/empty_in", "multi")
            run("bpftool", "cgroup", "attach", root, "egress", "pinned", f"{PIN}/empty_out", "multi")
            return
        if variant == "nothing":
            return
        command = {
            # Takes of CPU 1 what it can get and looks at nothing: what sharing a core alone costs.
            "busy": ["sh", "-c", "echo busy >&2; while :; do :; done"],
            "headtrail": [headtrail, "watch", "--format", "json"],
            "tcpdump": ["tcpdump", "-i", "lo", "-s", "1100", "-w", "/dev/null", f"tcp port {PORT} or tcp port {HTTP2_PORT}"],
            "tshark": ["tshark", "-i", "lo", "-T", "ek", "-f", f"tcp port {PORT} or tcp port {HTTP2_PORT}",
                       "-d", f"tcp.port=={PORT},http", "-d", f"tcp.port=={HTTP2_PORT},http2", "-Y", "http || http2"],
        }[variant]
        # As tcpdump's: what it costs to make, not what the disk takes.
        self.out = open(os.devnull, "wb")
        self.error = open(self.error_path, "wb")
        self.process = subprocess.Popen(pinned + command, stdout=self.out, stderr=self.error)
        ready = {"busy": "busy", "headtrail": "watching", "tcpdump": "listening", "tshark": "Capturing"}[variant]
        for _ in range(400):
            time.sleep(0.05)
            if ready in open(self.error_path, errors="replace").read():
                break
        else:
            sys.exit(f"{variant} did not start: {open(self.error_path).read()}")
        time.sleep(0.3)

    def usage(self):
        if not self.process:
            return 0, 0, 0
        return (cpu_ns(self.process.pid), *user_system_ticks(self.process.pid))

    def stop(self):
        """Ends it and returns its peak memory in KiB and its last words."""
        if self.variant == "empty":
            root = cgroup_root()
            run("bpftool", "cgroup", "detach", root, "ingress", "pinned", f"{PIN}/empty_in")
            run("bpftool", "cgroup", "detach", root, "egress", "pinned", f"{PIN}/empty_out")
            shutil.rmtree(PIN, ignore_errors=True)
        if not self.process:
            return 0, ""
        peak = peak_kib(self.process.pid)
        self.process.send_signal(signal.SIGINT)
        try:
            # tshark goes on for minutes with what it has not dissected yet.
            self.process.wait(timeout=60 if self.variant == "headtrail" else 2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.out.close()
        return peak, open(self.error_path, errors="replace").read()


def records(words):
    """Whole transactions printed and messages lost, from Headtrail's closing words. What the client broke off at the end
    is not whole, and nginx may or may not have counted it."""
    found = re.search(r"printed (\d+) transactions, (\d+) of them not whole", words)
    lost = sum(int(n) for n in re.findall(r"ring_full (\d+)", words))
    return (int(found.group(1)) - int(found.group(2)) if found else None), lost


def load(case, seconds, rate=None):
    """Runs the client; returns requests/s or (p50, p99) in microseconds, and the client's share of its CPU."""
    path, connections, _ = CASES[case]
    http2 = case == "http2"
    url = f"http://127.0.0.1:{HTTP2_PORT if http2 else PORT}{path}"
    version = ["-m4"] if http2 else ["--h1"]
    if rate:
        clients = min(connections, 16)
        command = ["taskset", "-c", LOAD_CPU, "h2load", *version, f"--rps={rate / clients}", "-c", str(clients), "-t1",
                   "-D", str(seconds), "--log-file=/dev/stderr", url]
    elif http2:
        command = ["taskset", "-c", LOAD_CPU, "h2load", *version, f"-c{connections}", "-t1", "-D", str(seconds), url]
    else:
        command = ["taskset", "-c", LOAD_CPU, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", url]
    begin = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, err = process.communicate()
    took = time.monotonic() - begin
    usage = os.times()
    if rate:
        times = sorted(int(line.split("\t")[2]) for line in err.splitlines() if line.count("\t") == 2)
        if not times:
            sys.exit(f"h2load gave no times: {out} {err[:500]}")
        return (times[len(times) // 2], times[len(times) * 99 // 100]), took, usage
    rps = float(re.search(r"([\d.]+) req/s" if http2 else r"Requests/sec:\s+([\d.]+)", out).group(1))
    return rps, took, usage


def turn(nginx, variant, case, seconds, folder, headtrail, rate=None):
    _, _, records_each = CASES[case]
    logger = Logger(variant, folder, headtrail)
    before, used, count = logger.usage(), cpu_ns(nginx.worker), nginx.requests()
    children = os.times()
    result, took, after_children = load(case, seconds, rate)
    served = nginx.requests() - count - 1
    nginx_cpu = cpu_ns(nginx.worker) - used
    if logger.process:
        time.sleep(0.3)
    after = logger.usage()
    peak, words = logger.stop()
    wrk_cpu = (after_children.children_user + after_children.children_system
               - children.children_user - children.children_system)
    printed, lost = records(words) if variant == "headtrail" else (None, 0)
    ticks = os.sysconf("SC_CLK_TCK")
    # The proxied request counts twice at nginx: once for each leg.
    client_requests = served / (2 if case == "proxy" else 1)
    transactions = client_requests * records_each
    return {
        "rps": result if not rate else None,
        "latency": result if rate else None,
        "nginx_us": nginx_cpu / 1000 / client_requests,
        "client_share": wrk_cpu / took,
        "logger_us": (after[0] - before[0]) / 1000 / transactions,
        "logger_user_us": (after[1] - before[1]) / ticks * 1e6 / transactions,
        "logger_system_us": (after[2] - before[2]) / ticks * 1e6 / transactions,
        "peak_mib": peak / 1024,
        # The two calls for the count and its own connection are seen too.
        "missing": transactions + 2 - printed if printed is not None else None,
        "lost": lost,
        "transactions": transactions,
        "words": words if lost else "",
    }


def spread(values):
    values = [v for v in values if v is not None]
    if not values:
        return "-"
    if len(values) < 4:
        return f"{statistics.median(values):.3f}"
    q = statistics.quantiles(values, n=4)
    return f"{statistics.median(values):.3f} ({q[0]:.3f}-{q[2]:.3f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--latency", action="store_true", help="also latency at half of saturation")
    parser.add_argument("--headtrail", default=f"{TOP}/target/release/headtrail")
    parser.add_argument("--out", default=f"{TOP}/target/bench/http.md")
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="headtrail-bench-")
    os.chmod(folder, 0o755)
    run("sysctl", "-q", "kernel.bpf_stats_enabled=0")
    include = [f"-I/usr/include/{os.uname().machine}-linux-gnu"]
    run("clang", "-g", "-O2", "-target", "bpf", *include, "-c", f"{HERE}/empty.bpf.c", "-o", f"{folder}/empty.o")
    nginx = Nginx(f"{folder}/nginx")
    lines = []

    def say(text=""):
        print(text, flush=True)
        lines.append(text)

    try:
        say(f"{os.cpu_count()} CPUs, kernel {os.uname().release}, {args.rounds} rounds of {args.seconds} s; "
            "median (first-third quartile); ratios are to `nothing` in the same round\n")
        say("| case | variant | requests/s ratio | nginx CPU per request ratio | client's share of CPU 1 | logger us/transaction "
            "| user | kernel | peak MiB | missing | told lost | transactions |")
        say("|---|---|---|---|---|---|---|---|---|---|---|---|")
        for case in args.cases.split(","):
            variants = args.variants.split(",")
            results = {v: [] for v in variants}
            for round_ in range(args.rounds):
                shift = round_ % len(variants)
                for variant in variants[shift:] + variants[:shift]:
                    results[variant].append(turn(nginx, variant, case, args.seconds, folder, args.headtrail))
            base = results["nothing"]
            for variant in variants:
                rows = results[variant]
                ratio = lambda key: spread([r[key] / b[key] for r, b in zip(rows, base)])
                total = lambda key: sum(r[key] or 0 for r in rows)
                is_logger = variant not in ("nothing", "empty")
                say(f"| {case} | {variant} | {ratio('rps')} | {ratio('nginx_us')} | {spread([r['client_share'] for r in rows])} | "
                    + (f"{spread([r['logger_us'] for r in rows])} | {spread([r['logger_user_us'] for r in rows])} | "
                       f"{spread([r['logger_system_us'] for r in rows])} | {max(r['peak_mib'] for r in rows):.0f} | "
                       f"{total('missing'):.0f} | {total('lost'):.0f} | {total('transactions'):.0f} |" if is_logger
                       else f"- | - | - | - | - | - | {total('transactions'):.0f} |"))
            say(f"\n{case}: nothing = {spread([b['rps'] for b in base])} requests/s, "
                f"{spread([b['nginx_us'] for b in base])} us of nginx per request\n")
            if args.latency:
                rate = int(statistics.median(b["rps"] for b in base) / 2)
                say(f"{case} at {rate} requests/s: client's latency, ratio to `nothing`\n")
                say("| variant | p50 | p99 |\n|---|---|---|")
                results = {v: [] for v in variants}
                for round_ in range(args.rounds):
                    shift = round_ % len(variants)
                    for variant in variants[shift:] + variants[:shift]:
                        results[variant].append(turn(nginx, variant, case, args.seconds, folder, args.headtrail, rate))
                for variant in variants:
                    pairs = list(zip(results[variant], results["nothing"]))
                    say(f"| {variant} | {spread([r['latency'][0] / b['latency'][0] for r, b in pairs])} "
                        f"| {spread([r['latency'][1] / b['latency'][1] for r, b in pairs])} |")
                base50 = spread([b["latency"][0] for b in results["nothing"]])
                base99 = spread([b["latency"][1] for b in results["nothing"]])
                say(f"\nnothing: p50 {base50} us, p99 {base99} us\n")
    finally:
        nginx.stop()
        shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(os.path.dirname(args.out), exist_ok=True)
    with open(args.out, "w") as f:
        f.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

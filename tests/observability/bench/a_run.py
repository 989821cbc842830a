"""Runs that were never measured, for what keeps and shows runs."""

from __future__ import annotations

from random import Random
from typing import Any

from observability.bench.measured import Measured
from observability.bench.plan import Plan, Target
from observability.bench.run import Lateness, Machine, Run, Sample

MACHINE = Machine(
    cpu="A Processor",
    num_cores=4,
    memory_gb=16.5,
    system="Linux 6.1",
    python="3.11.4",
    gpus=["A GPU"],
)


def a_run(
    run_id: str = "20261201-014500-3fa9",
    *,
    num: int = 20,
    seed: int = 0,
    slow: float = 1.0,
    **more: Any,
) -> Run:
    """Some requests at a rate, some of which fail; `slow` stretches what the server takes."""
    random = Random(seed)
    results: list[Measured] = []
    due_s = 0.0
    for index in range(num):
        due_s += random.expovariate(5.0)
        results.append(a_result(index, due_s, random, slow))
    duration_s = max((one.end_s for one in results), default=0.0)
    values: dict[str, Any] = {
        "id": run_id,
        "label": "a label",
        "begun_at": f"{run_id[:4]}-{run_id[4:6]}-{run_id[6:8]}T{run_id[9:11]}:{run_id[11:13]}:07.5Z",
        "plan": Plan(
            target=Target(url="http://127.0.0.1:8000", model="a/model", body={"temperature": 0}),
            workload="random:128,24",
            arrival="poisson:5",
            num_requests=num,
            max_concurrency=16,
            objective={"ttft": 300.0},
            seed=seed,
        ),
        "duration_s": duration_s,
        "results": results,
        "samples": samples(random, duration_s),
        "lateness": Lateness(loop_p99_ms=1.25, loop_max_ms=2.0, send_p99_ms=0.3, cpu_share=0.4),
        "machine": MACHINE,
        "versions": {"kvorum": "0.1.0", "commit": "0123456789ab", "server": "kvorum 0.1.0"},
    }
    return Run(**{**values, **more})


def a_result(index: int, due_s: float, random: Random, slow: float = 1.0) -> Measured:
    sent_s = due_s + max(0.0, random.gauss(-0.02, 0.05))
    at_s = sent_s + slow * random.lognormvariate(-2.5, 0.5)
    if index % 11 == 5:
        error = random.choice(["http 429", "timeout"])
        return Measured(
            session=index,
            turn=0,
            due_s=due_s,
            sent_s=sent_s,
            end_s=at_s,
            num_asked_tokens=24,
            error=error,
            detail="<b>too many</b> & more",
        )
    arrivals_s = []
    for _ in range(24):
        arrivals_s.append(at_s)
        at_s += slow * random.lognormvariate(-4.0, 0.4)
    return Measured(
        session=index,
        turn=0,
        due_s=due_s,
        sent_s=sent_s,
        end_s=at_s,
        arrivals_s=arrivals_s,
        first_answer_s=arrivals_s[0],
        num_prompt_tokens=128,
        num_output_tokens=24,
        num_cached_tokens=16,
        num_asked_tokens=24,
        finish_reason="length",
        num_characters=96,
    )


def samples(random: Random, duration_s: float) -> list[Sample]:
    seen = []
    for second in range(-1, int(duration_s) + 2):
        at_s = second + random.random() / 10
        seen += [
            Sample(at_s, 'kvorum_requests_running{model="a/model"}', float(random.randint(0, 16))),
            Sample(at_s, 'kvorum_requests_waiting{model="a/model"}', float(random.randint(0, 5))),
            Sample(at_s, 'kvorum_kv_cache_usage_ratio{model="a/model"}', random.random()),
            Sample(at_s, "gpu0.utilization", random.random()),
            Sample(at_s, "gpu0.power_w", random.uniform(200, 700)),
            Sample(at_s, "gpu0.memory_bytes", 70e9),
            Sample(at_s, "client.cpu", random.random()),
        ]
    return seen

"""What the refusal of a model, a worker, a profile or a finding of `forebay doctor` says is to be done is done here, on Apache
Kafka: the model then scores, the worker is asked, the profile is written, and nothing needs attention any more.
"""

import contextlib
import functools
import hashlib
import json
import os
import re
import socket
import subprocess
import uuid

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xgboost as xgb

import version_dir as vd
from conftest import ROOT, binary, free_port, run_binary, wait_for
from tables import instant
from test_apply import SERVICE, SOURCE, apply, click, clicks, total
from test_log import definitions
from topics import has_topic, make_topic, records

FEATURES = [vd.feature("clicks", "BIGINT"), vd.feature("total", "DOUBLE")]
DAY_US = 86_400_000_000
# Of a training set, and as many golden ones.
ROWS = 300


def rows_of(count):
    random = np.random.default_rng(7)
    return pa.table({"clicks": pa.array(random.integers(0, 40, count)), "total": pa.array(random.normal(10.0, 5.0, count))})


@functools.cache
def trained(targets=1, **parameters):
    """A small booster over both features."""
    matrix = vd.encode(rows_of(ROWS), FEATURES)
    late = (matrix[:, 1] > 10).astype(np.float32)
    label = late if targets == 1 else np.stack([late] * targets, axis=1)
    data = xgb.DMatrix(matrix, label=label, feature_names=["clicks", "total"], feature_types=["q", "q"], nthread=1)
    return xgb.train({"objective": "binary:logistic", "max_depth": 2, "nthread": 1, **parameters}, data, 3)


class Models:
    """A folder of versions of the model `spender`, as scripts/train writes them."""

    def __init__(self, root):
        self.root = root

    def folder(self, number):
        return self.root / "spender" / str(number)

    def write(self, number, fingerprint="", model="spender", service="spending_now"):
        folder = self.root / model / str(number)
        made_for = {"name": service, "version": 1, "fingerprint": fingerprint}
        vd.write_version(folder, model, number, trained(), rows_of(ROWS), FEATURES, made_for)
        return folder

    @staticmethod
    def create(number, model="spender", service="spending_now"):
        return f"CREATE OR REPLACE MODEL {model} VERSION {number} FROM '{model}/{number}' FEATURES {service};"


def edit(before, after):
    """A change of the manifest's text."""
    def change(folder):
        file = folder / "manifest.toml"
        text = file.read_text()
        assert before in text, text
        file.write_text(text.replace(before, after))

    return change


def put(name, content):
    """Other bytes of a file, which the manifest knows."""
    def change(folder):
        file, bytes_of = folder / name, content()
        before, after = (hashlib.sha256(part).hexdigest() for part in (file.read_bytes(), bytes_of))
        edit(before, after)(folder)
        file.write_bytes(bytes_of)

    return change


def flipped(name):
    """A bit of a file changes."""
    def change(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])

    return change


def booster(**parameters):
    return put("model.json", lambda: bytes(trained(**parameters).save_raw("json")))


def golden(wrong):
    """The same golden rows, written as `wrong` does it."""
    def change(folder):
        with pa.OSFile(str(folder / "golden.arrow")) as file:
            table = pa.ipc.open_file(file).read_all()
        sink = pa.BufferOutputStream()
        options, table = wrong(table)
        with pa.ipc.new_file(sink, table.schema, options=options) as writer:
            writer.write_table(table)
        put("golden.arrow", lambda: sink.getvalue().to_pybytes())(folder)

    return change


def dictionary(table):
    return None, table.set_column(0, "clicks", table["clicks"].dictionary_encode())


def compressed(table):
    return pa.ipc.IpcWriteOptions(compression="zstd"), table


def long_file(name, mib):
    return lambda folder: os.truncate(folder / name, mib << 20)


AGAIN = None
# What is wrong with a version directory, what is said of it, and what is done: an edit, or the directory as it was (AGAIN).
VERSIONS = [
    (flipped("model.json"), "model.json has sha256 .*: copy the version directory again", AGAIN),
    (flipped("golden.arrow"), "golden.arrow has sha256 .*: copy the version directory again", AGAIN),
    (edit('"exact"', '"close"'), 'class "close": use exact, ulp:k or rel:x', edit('"close"', '"ulp:1"')),
    (edit('"exact"', '"close"'), 'class "close": use exact, ulp:k or rel:x', edit('"close"', '"rel:1e-6"')),
    (edit('"DOUBLE"', '"FLOAT"'), 'dtype "FLOAT"; use DOUBLE, BIGINT, INTEGER', edit('"FLOAT"', '"DOUBLE"')),
    (edit('"FP32"', '"FP64"'), 'dtype "FP64"; served is FP32', edit('"FP64"', '"FP32"')),
    (edit('name = "score"', 'name = "margin"'), "outputs: give margin once", AGAIN),
    (edit('\n[[outputs]]\nname = "score"\ndtype = "FP32"\nclass = "exact"\n', ""), "outputs: give margin and score", AGAIN),
    (edit('kind = "xgboost"', 'kind = "XGBoost"'), 'kind "XGBoost": served is xgboost', edit('"XGBoost"', '"xgboost"')),
    (edit('"fp32"', '"fp16"'), 'precision "fp16": served is fp32', edit('"fp16"', '"fp32"')),
    (edit("format = 1", "format = 2"), "format 2: this build reads format 1", edit("format = 2", "format = 1")),
    (edit('model_file = "model.json"', 'model_file = "trees.json"'), r'model_file "trees.json" is not listed in \[files\]',
     edit('"trees.json"', '"model.json"')),
    (edit('"model.json" =', '"../model.json" ='), 'file "../model.json": give the plain name of a file beside the manifest',
     edit('"../model.json"', '"model.json"')),
    (edit("[0, 3]", "[3, 0]"), r"iterations \(3, 0\): the end comes after the start", edit("[3, 0]", "[0, 3]")),
    (edit('dtype = "BIGINT"', 'dtype = "BIGINT"\ncategories = ["a"]'), "VARCHAR needs categories, other types have none",
     edit('categories = ["a"]', "")),
    (edit('name = "clicks"', 'name = "total"'), 'feature "total" occurs twice', AGAIN),
    (edit("binary:logistic", "binary:logitraw"), 'objective "binary:logitraw", the model file has "binary:logistic"',
     edit("binary:logitraw", "binary:logistic")),
    (booster(objective="multi:softprob", num_class=2), 'objective "multi:softprob"; served are binary:logistic, ', AGAIN),
    (booster(objective="reg:squarederror", targets=2), "a prediction has one score, train one model for each", AGAIN),
    (booster(booster="gblinear", max_depth=None), 'booster "gblinear"; served are gbtree and dart', booster(booster="dart")),
    (golden(lambda table: (None, table.slice(0, 200))), r"200 rows; at least 256 \(MODEL_GOLDEN_MIN_ROWS\)", AGAIN),
    (golden(compressed), "compressed batches are not read here; send them plain", AGAIN),
    (golden(dictionary), "column clicks is of a dictionary type; write it as its value type", AGAIN),
    (long_file("manifest.toml", 5), r"too long, the limit is 4194304 \(MODEL_MANIFEST_MAX_BYTES\)", AGAIN),
    (long_file("golden.arrow", 65), r"too long, the limit is 67108864 \(MODEL_GOLDEN_MAX_BYTES\)", AGAIN),
]


def published(kafka, topic):
    """The records of a topic; none before the server has made it."""
    return records(kafka, topic) if has_topic(kafka, topic) else []


class Shop:
    """A running server that has some clicks, the folder of its models, and the topic of its predictions."""

    def __init__(self, servers, kafka, folder, **environment):
        self.kafka, self.topic = kafka, f"clicks.{uuid.uuid4().hex[:8]}"
        make_topic(kafka, self.topic)
        self.models = Models(folder / "models")
        env = {"FOREBAY_INGEST_ARCHIVE_FLUSH_MS": "200", "FOREBAY_SERVER_MODEL_ROOT": str(self.models.root), **environment}
        self.server = servers(kafka, definitions(folder, self.topic), env=env)
        self.clicks = 0

    def click(self):
        """One more; what the model is asked for."""
        click(self.kafka, self.topic, self.clicks, 1)
        self.clicks += 1

    def deployment(self, number, shadows=()):
        """Its definition."""
        routes = [f"VERSION {number} WEIGHT 100", *(f"SHADOW VERSION {shadow}" for shadow in shadows)]
        return (f"CREATE OR REPLACE DEPLOYMENT spender ON clicks INTO TOPIC '{self.topic}.predictions' "
                f"ROUTE {', '.join(routes)};")

    def versions(self, topic=None):
        """Versions of the predictions, in their order."""
        return [json.loads(value)["model_version"] for value in published(self.kafka, topic or f"{self.topic}.predictions")]

    def scores(self, number):
        """The next click is scored by this version."""
        self.click()
        wait_for(lambda: len(self.versions()) == self.clicks,
                 lambda: f"{self.clicks} predictions; {self.server.client.status()}")
        assert self.versions()[-1] == number and clicks(self.server) == total(self.clicks)

    def fingerprint(self):
        services = self.server.client.action("services")["services"]
        return next(service["fingerprint"] for service in services if service["name"] == "spending_now")


@pytest.fixture(scope="module")
def shop(module_servers, kafka, tmp_path_factory):
    made = Shop(module_servers, kafka, tmp_path_factory.mktemp("models"))
    made.server.start()
    made.models.write(1)
    apply(made.server, made.models.create(1), made.deployment(1))
    made.scores(1)
    return made


def test_version_directories_that_are_mended_as_their_refusals_say_score(shop):
    mended = []
    for number, (wrong, words, mend) in enumerate(VERSIONS, 2):
        folder = shop.models.write(number)
        wrong(folder)
        with pytest.raises(pa.ArrowException, match=words):
            apply(shop.server, shop.models.create(number))
        mend(folder) if mend else shop.models.write(number)
        mended.append(number)
    shop.scores(1)
    apply(shop.server, *map(shop.models.create, mended), shop.deployment(mended[0], mended[1:]))
    shop.scores(mended[0])
    shadows = shop.topic + ".predictions.shadow"
    wait_for(lambda: sorted(shop.versions(shadows)) == mended[1:], lambda: f"each shadow's; {shop.versions(shadows)}")


def test_a_model_of_another_service_is_trained_again_or_gets_its_service_back(shop, tmp_path):
    narrow = shop.fingerprint()
    wider = SERVICE.replace("CREATE", "CREATE OR REPLACE").replace("s.total", "s.total, s.total / 2 AS half")
    apply(shop.server, wider)
    wide = shop.fingerprint()
    apply(shop.server, SERVICE.replace("CREATE", "CREATE OR REPLACE"))
    shop.models.write(101, fingerprint=wide)
    words = (f"made for feature fingerprint {wide}, the service has {narrow}: train it again on that service or deploy the "
             "service it was made for")
    with pytest.raises(pa.ArrowException, match=words):
        apply(shop.server, shop.models.create(101))
    # Training takes the fingerprint from the training set.
    spine, file = tmp_path / "spine.parquet", tmp_path / "set.parquet"
    at = pa.array([instant("2024-05-02")], pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"name": ["ann"], "event_time": at}), spine)
    run_binary("training-set", "spending_now", "--spine", spine, "--out", file, "--data-dir", shop.server.data_dir)
    shop.models.write(102, fingerprint=pq.read_schema(file).metadata[b"forebay.fingerprint"].decode())
    apply(shop.server, shop.models.create(102), shop.deployment(102))
    shop.scores(102)
    apply(shop.server, wider, shop.models.create(101), shop.deployment(101), "DROP MODEL spender VERSION 102;")
    shop.scores(101)


@contextlib.contextmanager
def worker(*args):
    """A `forebay worker` that is ready; ended afterwards."""
    command = [binary(), "worker", *args]
    process = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline()
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.fixture(scope="module")
def workless(module_servers, kafka, tmp_path_factory):
    """A shop whose server scores on workers alone, and knows none."""
    made = Shop(module_servers, kafka, tmp_path_factory.mktemp("workless"), FOREBAY_INFERENCE_LOCAL_SCORING="false")
    made.server.start()
    made.models.write(1)
    apply(made.server, made.models.create(1), made.deployment(1))
    return made


def verify(shop):
    return run_binary("verify", "spending_now", "--predictions", "--flight-addr", shop.server.flight, check=False, timeout=60)


def waits(shop, words):
    """The deployment waits, and says why."""
    def reason():
        return shop.server.client.status()["deployments"]["spender"]["reason"] or ""

    wait_for(lambda: re.search(words, reason()), lambda: f"{words}; {shop.server.client.status()['deployments']}")


def test_a_worker_that_is_started_as_its_refusals_say_scores_what_waits_for_one(workless):
    shop, port, one = workless, free_port(), workless.models.folder(1)
    assert "FAILED: no row could be compared; replay or push events first" in verify(shop).stdout
    shop.click()
    waits(shop, "no worker serves spender version 1; start one with `forebay worker` and let it register")
    server = shop.server.flight
    args = {"--model": "spender", "--device": "tpu", "--listen": f"0.0.0.0:{port}", "--register": f"http://{server}"}
    # What is refused, and the argument that it names instead.
    for words, name, value in [("is not NAME=DIR; write for example late_arrival=models", "--model", f"spender={one.parent}"),
                               ("--device 'tpu' is none of auto, cpu, gpu:N", "--device", "gpu:0"),
                               ("use 127.0.0.1 or [::1]", "--listen", f"127.0.0.1:{port}"),
                               ("give the server's Arrow Flight address, such as 127.0.0.1:8815", "--register", server),
                               ("; or use --device auto", "--device", "auto"),
                               ("give the directory of one version, such as models/spender/1", "--model", f"spender={one}")]:
        refused = run_binary("worker", *(word for pair in args.items() for word in pair), check=False, timeout=30)
        assert refused.returncode == 2 and words in refused.stderr, refused
        args[name] = value
    with worker(*(word for pair in args.items() for word in pair)) as said:
        assert said.startswith(f"worker ready on 127.0.0.1:{port}, scoring on cpu: spender version 1"), said
        wait_for(lambda: shop.versions() == [1], lambda: f"the prediction; {shop.server.client.status()}")
        shop.scores(1)
    wait_for(lambda: "2 rows, 2 equal to the bit" in verify(shop).stdout, lambda: f"both to be verified; {verify(shop)}")
    assert verify(shop).returncode == 0


def training_set(file, days, rows_a_day, time_column="event_time"):
    """Rows of both features over these days."""
    count = days * rows_a_day
    at = [instant("2024-01-01") + row * DAY_US // rows_a_day for row in range(count)]
    pq.write_table(rows_of(count).append_column(time_column, pa.array(at, pa.timestamp("us", "UTC"))), file)
    return file


@pytest.fixture
def profile(tmp_path):
    """Runs `forebay profile` with these options; the finished process."""
    def run(name, file, model, **options):
        flags = []
        for option, value in options.items():
            flags += [f"--{option.replace('_', '-')}", *([] if value is True else [value])]
        return run_binary("profile", name, "--training-set", file, "--model", model, *flags, check=False, timeout=60)

    return run


def refused(done, words):
    assert done.returncode == 2 and words in done.stderr, done


def test_a_profile_is_written_once_its_call_is_what_its_refusals_say(profile, tmp_path):
    model = Models(tmp_path).write(1)
    file = training_set(tmp_path / "set.parquet", 4, 2400, time_column="at")
    call = {"name": "q 1", "file": file, "model": model.parent, "window": "0s", "until": "2024-01-01"}
    for words, mended in [("use up to 128 letters, digits, '_', '-' and '.'", {"name": "q1"}),
                          ("--window is 0; give the monitor's, such as 7d", {"window": "7d"}),
                          ("give the directory of one version, such as models/late_arrival/1", {"model": model}),
                          ("has no column 'event_time'; give --time-column, it has clicks, total, at", {"time_column": "at"}),
                          ("has no row before --until", {"until": "2025-01-01"}),
                          ("give a training set longer than the window",
                           {"file": training_set(tmp_path / "longer.parquet", 9, 2400, time_column="at")})]:
        refused(profile(**call), words)
        call |= mended
    done = profile(**call)
    note = "a longer training set or a shorter --window calibrates better"
    assert done.returncode == 0 and note in done.stdout and (model / "reference-q1.json").exists(), done
    longest = training_set(tmp_path / "longest.parquet", 150, 100, time_column="at")
    refused(profile(**call | {"file": longest}), "give it another name, or --replace")
    for other in ({"name": "q2", "file": longest}, {"file": longest, "replace": True}, {"name": "q3", "window": "6h"}):
        done = profile(**call | other)
        assert done.returncode == 0 and note not in done.stdout, done


def monitor(windows):
    return (f"CREATE OR REPLACE MONITOR watch ON MODEL spender WINDOW INTERVAL '7' DAY REFERENCE TRAINING SET 'few' "
            f"ALERT AT FALSE ALARM RATE 0.01 FOR {windows} OF 3 WINDOWS;")


def counts(shop, name, count):
    """With the next click the monitor has this many predictions."""
    shop.click()

    def accepted():
        return [one["input"]["accepted"] for one in shop.server.client.status()["monitors"] if one["monitor"] == name]

    wait_for(lambda: accepted() == [count], lambda: f"{name} to count {count}; {shop.server.client.status()['monitors']}")


def test_a_profile_of_few_rows_gets_a_longer_window_and_a_damaged_one_is_built_again(shop, profile, tmp_path):
    file, model = training_set(tmp_path / "set.parquet", 60, 100), shop.models.folder(1)
    refused(profile("few", file, model, window="1d"),
            "or, where its windows have too few rows, a longer one, which is then that of CREATE MONITOR")
    done = profile("few", file, model, window="7d")
    assert done.returncode == 0 and "8 calibration windows" in done.stdout, done
    apply(shop.server, monitor(2))

    counts(shop, "watch", shop.clicks + 1)
    path = model / "reference-few.json"
    path.write_text(path.read_text().replace('"rows":6000', '"rows":6001'))
    with pytest.raises(pa.ArrowException, match="reference profile few: its digest .*; build it again from its training set"):
        apply(shop.server, monitor(1))
    refused(profile("few", file, model, window="7d"), "give it another name, or --replace")
    assert profile("few", file, model, window="7d", replace=True).returncode == 0
    apply(shop.server, monitor(1))
    counts(shop, "watch", shop.clicks + 1)
    apply(shop.server, "DROP MONITOR watch;")


def test_deployments_and_monitors_that_are_what_their_refusals_ask_for_score_and_count(shop, profile, tmp_path):
    lone = shop.models.write(1, model="lone")
    shop.models.write(1, model="split")
    shop.models.write(2, model="split", service="spending_then")
    apply(shop.server, SERVICE.replace("SERVICE spending_now", "SERVICE spending_then"), shop.models.create(1, "lone"),
          shop.models.create(1, "split"), shop.models.create(2, "split", "spending_then"))

    def deployment(name, model, route):
        topic = f"{shop.topic}.{name}"
        return f"CREATE DEPLOYMENT {name} USING MODEL {model} ON clicks INTO TOPIC '{topic}' ROUTE {route} WEIGHT 100;"

    def refuses(words, *statements):
        with pytest.raises(pa.ArrowException, match=words):
            apply(shop.server, *statements)

    refuses("version 1 reads feature service spending_now, version 2 reads spending_then; make a deployment for each",
            deployment("both", "split", "VERSION 1 WEIGHT 50, VERSION 2"))
    other = SOURCE.format(amount="DOUBLE", topic=f"{shop.topic}.other").replace("SOURCE clicks", "SOURCE predictions_second")
    refuses("has the name of a table of predictions; rename the source or the deployment",
            other, deployment("second", "split", "VERSION 2"))
    apply(shop.server, other.replace("SOURCE predictions_second", "SOURCE others"), deployment("lonely", "lone", "VERSION 1"),
          deployment("first", "split", "VERSION 1"), deployment("second", "split", "VERSION 2"))
    shop.click()
    for name in ("lonely", "first", "second"):
        wait_for(lambda: shop.versions(f"{shop.topic}.{name}"), lambda: f"one of {name}; {shop.server.client.status()}")

    watch = monitor(1).replace("watch", "watch_lone").replace("spender", "lone")
    apply(shop.server, "DROP DEPLOYMENT lonely;")
    refuses("which no deployment serves; add CREATE DEPLOYMENT", watch)
    profile("few", training_set(tmp_path / "set.parquet", 60, 100), lone)
    apply(shop.server, watch, deployment("again", "lone", "VERSION 1"))
    counts(shop, "watch_lone", 1)


def test_what_needs_attention_works_once_what_each_finding_of_the_doctor_says_is_done(servers, kafka, tmp_path, profile):
    topic, models = f"clicks.{uuid.uuid4().hex[:8]}", Models(tmp_path / "models")
    flight, http, asked = free_port(), free_port(), f"127.0.0.1:{free_port()}"
    model = models.write(1)
    flipped("model.json")(model)
    sql = definitions(tmp_path, topic)
    (sql / "models.sql").write_text(models.create(1) + f"CREATE DEPLOYMENT spender ON clicks INTO TOPIC '{topic}.predictions' "
                                    "ROUTE VERSION 1 WEIGHT 100;" + monitor(2))
    server = servers("127.0.0.1:1", tmp_path / "none", env={
        "FOREBAY_KAFKA_CREATE_SOURCE_TOPICS": "false", "FOREBAY_KAFKA_CREATE_TOPICS": "false", "FOREBAY_MEMORY_LIMIT_MIB": "64",
        "FOREBAY_SERVER_MODEL_ROOT": str(models.root), "FOREBAY_INFERENCE_WORKERS": asked})
    folder, server.data_dir = server.data_dir, tmp_path / "file"
    server.data_dir.write_text("no folder")
    call = {"--flight-addr": f"0.0.0.0:{flight}", "--http-addr": f"127.0.0.1:{http}"}
    prefix = ["prlimit", "--nofile=100:100"]

    def doctor():
        flags = {"--data-dir": server.data_dir, "--bootstrap": server.bootstrap, **call}
        flags |= {"--sql": server.sql} if server.sql.exists() else {}
        command = [*prefix, binary(), "doctor", *(str(word) for pair in flags.items() for word in pair)]
        done = subprocess.run(command, cwd=ROOT, env=server.env, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout

    with contextlib.ExitStack() as held:
        ports = [held.enter_context(socket.socket()) for _ in range(2)]
        for socket_of, port in zip(ports, (flight, http)):
            socket_of.bind(("127.0.0.1", port))
        few = training_set(tmp_path / "few.parquet", 60, 100)
        # What a finding says, and what is done, in an order in which none hides another. Once it is made, the profile is cut.
        steps = [
            ("check that it runs and that --bootstrap names it", lambda _: setattr(server, "bootstrap", kafka)),
            ("is a file; give a folder with --data-dir", lambda _: setattr(server, "data_dir", folder)),
            ("none yet; give --sql DIR", lambda _: setattr(server, "sql", sql)),
            (f"{topic} does not exist; make it, or set kafka.create_source_topics = true", lambda _: make_topic(kafka, topic)),
            (f"{topic}.predictions does not exist; make it, or set kafka.create_topics = true",
             lambda _: server.env.update(FOREBAY_KAFKA_CREATE_TOPICS="true")),
            ("until there are credentials, only 127.0.0.1 and [::1] are served",
             lambda _: call.update({"--flight-addr": f"127.0.0.1:{flight}"})),
            (f"127.0.0.1:{flight} is held by another program; stop it", lambda _: ports[0].close()),
            (f"127.0.0.1:{http} is held by another program; stop it, or choose another port",
             lambda _: call.update({"--http-addr": f"127.0.0.1:{server.http_port}"})),
            ("copy the version directory again", lambda _: models.write(1)),
            (f"{asked} does not answer; start it with: forebay worker --listen {asked} --model NAME=DIR",
             lambda _: held.enter_context(worker("--listen", asked, "--model", f"spender={model}"))),
            ("make it with: forebay profile few --training-set FILE --model DIR",
             lambda _: (profile("few", few, model), os.truncate(model / "reference-few.json", 100))),
            ("; make it again with forebay profile", lambda _: profile("few", few, model, replace=True)),
            ("raise the hard limit (ulimit -Hn", lambda _: prefix.clear()),
            ("the smallest that works here is ",
             lambda text: server.env.update(FOREBAY_MEMORY_LIMIT_MIB=re.search("smallest that works here is (\\d+)", text)[1])),
        ]
        for words, mend in steps:
            code, text = doctor()
            assert code == 1 and words in text, f"{words} is not in:\n{text}"
            mend(text)
        code, text = doctor()
        assert code == 0 and "everything that was looked at works" in text, text
        server.flight_port = flight
        server.start()
        click(kafka, topic, 0, 1)
        wait_for(lambda: len(published(kafka, f"{topic}.predictions")) == 1, lambda: f"a prediction; {server.client.status()}")


def test_a_topic_is_looked_at_once_the_doctor_has_the_cluster_and_the_definitions_that_it_asks_for(shop, tmp_path):
    def doctor(*flags):
        return run_binary("doctor", "--topic", shop.topic, *flags, check=False, timeout=60)

    refused(doctor("--sql", shop.server.sql, "--broker", "embedded"), "give --bootstrap of a Kafka cluster")
    cluster, none = ["--bootstrap", shop.kafka], ["--data-dir", tmp_path / "none"]
    refused(doctor(*cluster, *none), "the definitions have no source; give the definitions with --sql or --data-dir")
    for flags in (["--sql", shop.server.sql, *none], ["--data-dir", shop.server.data_dir]):
        done = doctor(*cluster, *flags)
        assert done.returncode == 0 and "every column is present, and nothing is refused" in done.stdout, done


def test_a_data_directory_gets_room_and_an_owner_as_the_doctor_says(disks, tmp_path):
    folder = tmp_path / "data"
    disks.mount(folder, 1100)

    def doctor(*prefix):
        command = [*prefix, binary(), "doctor", "--broker", "embedded", "--data-dir", folder]
        done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout

    filler = folder / "filler"
    filler.write_bytes(bytes(100 << 20))
    code, text = doctor()
    assert code == 1 and f" MiB are free in {folder}; make room" in text, text
    filler.unlink()
    assert doctor()[0] == 0
    # As a user who may not write where another one owns the folder.
    user = ["setpriv", "--bounding-set", "-dac_override"]
    os.chown(folder, 65534, 65534)
    folder.chmod(0o700)
    code, text = doctor(*user)
    assert code == 1 and f"cannot write in {folder}: " in text and "; change its owner, or give another folder" in text, text
    os.chown(folder, os.getuid(), os.getgid())
    code, text = doctor(*user)
    assert code == 0, text

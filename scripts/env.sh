# Sourced by every script: where third-party build output lives, outside the clone, so that a second clone or a second
# run finds it. FOREBAY_CACHE moves it; nothing else needs to be set.
export FOREBAY_CACHE="${FOREBAY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/forebay}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$FOREBAY_CACHE/target}"
# One optimised RocksDB archive serves every profile; scripts/rocksdb makes it, and without it the crate builds its own.
_root="$(dirname "${BASH_SOURCE[0]}")/.."
_rocksdb="$FOREBAY_CACHE/rocksdb/$(sed -n '/^name = "librocksdb-sys"/{n;s/version = "\(.*\)"/\1/p}' "$_root/Cargo.lock")"
if [ -f "$_rocksdb/librocksdb.a" ]; then
  export ROCKSDB_LIB_DIR="$_rocksdb" ROCKSDB_STATIC=1
fi

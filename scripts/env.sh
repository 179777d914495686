# Sourced by every script: where third-party build output lives, outside the clone, so that a second clone or a second
# run finds it. FOREBAY_CACHE moves it (a relative one counts from the root of the clone); nothing else needs to be set.
_root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export FOREBAY_CACHE="${FOREBAY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/forebay}"
case $FOREBAY_CACHE in /*) ;; *) FOREBAY_CACHE="$_root/$FOREBAY_CACHE" ;; esac
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$FOREBAY_CACHE/target}"
# One optimised RocksDB archive serves every profile; scripts/rocksdb makes it, and without it the crate builds its own.
# The folder is named after the version and the script, so that an archive of other sources or flags is never linked.
rocksdb_version="$(sed -n '/^name = "librocksdb-sys"/{n;s/version = "\(.*\)"/\1/p}' "$_root/Cargo.lock")"
rocksdb_dir="$FOREBAY_CACHE/rocksdb/$rocksdb_version-$(cksum <"$_root/scripts/rocksdb" | cut -d' ' -f1)"
if [ -f "$rocksdb_dir/librocksdb.a" ]; then
  export ROCKSDB_LIB_DIR="$rocksdb_dir" ROCKSDB_STATIC=1
fi

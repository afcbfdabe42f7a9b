"""A run on disk: Parquet shards under `reports/<run>/`, the plan and manifest, and DuckDB to read them."""

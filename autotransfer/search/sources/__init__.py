"""Sources of proposals, a file each: every one offers what it would like to try, and what it expects of that."""

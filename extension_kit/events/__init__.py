"""Events and their reception: from the bytes of a request to its answer, without framework and I/O."""

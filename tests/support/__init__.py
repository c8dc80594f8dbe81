"""Helpers of the tests: databases, processes, receivers and clients. Test modules import no test module."""

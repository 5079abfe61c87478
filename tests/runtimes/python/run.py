# SPDX-License-Identifier: GPL-2.0
"""Run modules of CPython's own tests; a line of TAP for each test.

usage: run.py MODULE...
"""

import selectors
import sys
import unittest

assert selectors.DefaultSelector is selectors.KqueueSelector
assert not hasattr(selectors, "EpollSelector")


class Result(unittest.TestResult):
    def startTest(self, test):
        super().startTest(test)
        self.bad = self.skip = None

    def addError(self, test, err):
        self.note(test, self._exc_info_to_string(err, test))

    def addFailure(self, test, err):
        self.note(test, self._exc_info_to_string(err, test))

    def addSubTest(self, test, subtest, err):
        if err:
            self.note(subtest, self._exc_info_to_string(err, test))

    def addSkip(self, test, reason):
        self.skip = reason
        # That of a class has no start and no end.
        if not isinstance(test, unittest.TestCase):
            print(f"ok - {test.id()} # SKIP {reason}", flush=True)

    def addUnexpectedSuccess(self, test):
        self.note(test, "is expected to fail")

    def note(self, test, text):
        self.bad = True
        for line in f"{test.id()}\n{text}".splitlines():
            print("#", line, flush=True)
        if not isinstance(test, unittest.TestCase):
            print("not ok -", test.id(), flush=True)

    def stopTest(self, test):
        super().stopTest(test)
        name = test.id().removeprefix("test.")
        if self.bad:
            print("not ok -", name, flush=True)
        elif self.skip:
            print(f"ok - {name} # SKIP {self.skip}", flush=True)
        else:
            print("ok -", name, flush=True)


# The tests start processes that read this again.
if __name__ == "__main__":
    unittest.defaultTestLoader.loadTestsFromNames(sys.argv[1:]).run(Result())

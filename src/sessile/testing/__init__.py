"""What every store, bus, agent and protocol must do, as tests that an adapter's own suite
inherits.

    class TestMyStore(StoreSuite):
        @pytest.fixture
        async def make_store(self, tmp_path):
            return lambda: MyStore(tmp_path / "x")

Each call of the function that ``make_store`` returns opens the same store again, as a new process
would. The tests are coroutines: run them with the anyio plugin of pytest (``anyio_mode = "auto"``).
"""

from sessile.testing.agents import AgentSuite
from sessile.testing.buses import BusSuite
from sessile.testing.protocols import ProtocolSuite
from sessile.testing.stores import StoreSuite
from sessile.testing.writer import Writer

__all__ = ["AgentSuite", "BusSuite", "ProtocolSuite", "StoreSuite", "Writer"]

"""One turn of an agent, also where it was cut off before."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from msgspec import UNSET
from pydantic_ai import (
    Agent,
    DeferredToolRequests,
    DeferredToolResults,
    RunContext,
    ToolDenied,
    exceptions,
)
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.messages import (
    FunctionToolCallEvent,
    ModelMessage,
    ModelRequest,
    UserPromptPart,
)
from pydantic_graph import End

from sessile.agents.base import CallResult, Decision, Output, Turn, Unfinished, Usage
from sessile.agents.pydantic_ai.messages import UNKNOWN, going_on, without_record
from sessile.agents.pydantic_ai.parts import Parts, output_parts
from sessile.agents.pydantic_ai.record import Record, dump, load, since
from sessile.wire.errors import AgentError
from sessile.wire.parts import ToolCallPart

# PydanticAI before 2.1 knows only of calls that have to be made again.
ToolFailed: Any = getattr(exceptions, "ToolFailed", exceptions.ModelRetry)


class Replay(AbstractCapability[Any]):
    """Gives the results of tool calls that ran before, in place of running them again."""

    def __init__(self, known: dict[str, ToolCallPart]) -> None:
        self._known = known

    async def wrap_tool_execute(
        self, ctx: RunContext[Any], *, call: Any, tool_def: Any, args: Any, handler: Any
    ) -> Any:
        known = self._known.pop(call.tool_call_id, None)
        if known is None:
            return await handler(args)
        if known.state == "complete":
            return None if known.tool_output is UNSET else known.tool_output
        raise ToolFailed(UNKNOWN if known.error is UNSET else known.error)


class Run:
    """One turn. ``history`` are the messages before, and ``prompt`` is the user's."""

    def __init__(
        self, agent: Agent[Any, Any], turn: Turn, history: list[ModelMessage], prompt: Any
    ) -> None:
        self._agent = agent
        self._turn = turn
        self._history = history
        self._prompt = prompt
        self._deps = turn if agent.deps_type is Turn else None
        self._spent = msgspec.convert(turn.metadata.get("usage", {}), Usage)  # in former runs
        self._known: dict[str, ToolCallPart] = {}  # calls that ran before
        self._decided: set[str] = set()  # calls of this step that were asked about
        self._kept = 0  # messages in the record
        former = turn.unfinished or Unfinished([])
        self._record = load(former.record) or Record()
        rest = self._record.rest(former.parts)
        self._parts = Parts(former.parts, joins=bool(rest))
        self._result: Any = None

    @property
    def began(self) -> bool:
        """Whether the model has sent anything."""
        return self._parts.began

    async def outputs(self) -> AsyncGenerator[Output, None]:
        """Raises :class:`~sessile.wire.errors.AgentError` if there is no answer."""
        prompt, messages = self._prompt, self._history
        requests = None
        if self._turn.unfinished is not None:
            if self._record.done:
                return
            prompt, messages = None, self._resume(self._turn.unfinished)
            requests = self._record.deferred
        if messages:  # the agent itself adds its system prompt only to a new conversation
            system = await self._agent.system_prompt_parts(deps=self._deps, prompt=self._prompt)
            messages = [*([ModelRequest(system)] if system else []), *messages]
        while True:
            answers = None if requests is None else await self._ask(requests)
            async with aclosing(self._steps(prompt, messages, answers)) as outputs:
                async for output in outputs:
                    yield output
            output = self._result.output
            if not isinstance(output, DeferredToolRequests):
                break
            prompt, messages, requests = None, self._result.all_messages(), output
            await self._keep(messages, deferred=requests)
        if self._parts.empty and output == "":
            raise AgentError("The agent's answer is empty.")
        for part in output_parts(output):
            yield part
        await self._keep(self._result.all_messages(), done=True)

    # Continuing ---------------------------------------------------------------------------------

    def _resume(self, former: Unfinished) -> list[ModelMessage]:
        """The messages with which a turn goes on that was cut off."""
        self._turn.begin_part()
        prompt = ModelRequest([UserPromptPart(self._prompt)])
        if not self._record.messages:
            return [*self._history, prompt, *without_record(former.parts)]
        shown: dict[str, ToolCallPart] = {}
        for call in self._record.open_calls():
            part = self._record.shown(former.parts, call)
            if part is None:
                continue
            shown[call.tool_call_id] = part
            if _ran(part):
                self._known[call.tool_call_id] = part
        self._parts.begin_step(shown)
        self._parts.silent = {id for id, part in self._known.items() if not part.is_open}
        self._kept = len(self._record.messages)
        rest = self._record.rest(former.parts)
        cut = going_on(rest) if rest.strip() else []
        return [*self._history, prompt, *self._record.messages, *cut]

    # Running ------------------------------------------------------------------------------------

    async def _steps(
        self, prompt: Any, messages: list[ModelMessage], answers: DeferredToolResults | None
    ) -> AsyncGenerator[Output, None]:
        """Run the agent, one node after the other. A tool runs only when its call, which was
        yielded before, is stored: the events are taken from the run itself, not from a task."""
        async with self._agent.iter(
            prompt,
            message_history=messages,
            deferred_tool_results=answers,
            deps=self._deps,
            capabilities=[Replay(self._known)] if self._known else None,
        ) as run:
            node: Any = run.next_node
            while not isinstance(node, End) and run.result is None:
                if Agent.is_model_request_node(node) or Agent.is_call_tools_node(node):
                    async with node.stream(run.ctx) as stream:  # type: ignore[var-annotated]
                        events: Any = stream
                        async for event in events:
                            for output in self._parts.take(event, self._defers(run, event)):
                                yield output
                former, node = node, await run.next(node)
                self._count(run.usage)
                await self._passed(run, former, node)
            self._result = run.result
        self._spent = self._turn.metadata["usage"]

    def _defers(self, run: Any, event: Any) -> bool:
        """Whether an event is about a tool call that does not run before it is approved, or not at
        all here."""
        if not isinstance(event, FunctionToolCallEvent) or event.part.tool_call_id in self._decided:
            return False
        tools = getattr(run.ctx.deps.tool_manager, "tools", None) or {}
        tool = tools.get(event.part.tool_name)
        return tool is not None and tool.tool_def.kind in ("unapproved", "external")

    async def _passed(self, run: Any, former: Any, node: Any) -> None:
        """Keep what the run has between two nodes."""
        if Agent.is_call_tools_node(node) and Agent.is_model_request_node(former):
            self._record = self._record._replace(calls=self._parts.calls)
            self._begin_step()
            if node.model_response.tool_calls:
                await self._keep(run.all_messages())
        elif Agent.is_model_request_node(node):
            self._begin_step()
            await self._keep([*run.all_messages(), node.request])

    def _begin_step(self) -> None:
        self._decided = set()
        self._parts.begin_step()

    async def _keep(
        self,
        messages: list[ModelMessage],
        deferred: DeferredToolRequests | None = None,
        done: bool = False,
    ) -> None:
        own = since(messages, self._prompt)
        if own is None:  # a capability of the agent has rewritten the history
            await self._turn.keep(None)
        elif len(own) > self._kept or deferred or done:
            self._kept = len(own)
            calls = self._record.calls
            await self._turn.keep(dump(Record(own, self._parts.said, calls, deferred, done)))

    def _count(self, usage: Any) -> None:
        spent = self._spent
        self._turn.metadata["usage"] = Usage(
            spent.input_tokens + usage.input_tokens,
            spent.output_tokens + usage.output_tokens,
            spent.cached_input_tokens + usage.cache_read_tokens,
            spent.reasoning_tokens + usage.details.get("reasoning_tokens", 0),
        )

    # Asking -------------------------------------------------------------------------------------

    async def _ask(self, requests: DeferredToolRequests) -> DeferredToolResults:
        turn, question = self._turn, self._parts.question
        decisions, results = await asyncio.gather(
            asyncio.gather(*(turn.ask(question(call)) for call in requests.approvals)),
            asyncio.gather(*(turn.call(question(call)) for call in requests.calls)),
        )
        approved = zip(requests.approvals, decisions, strict=True)
        returned = zip(requests.calls, results, strict=True)
        found = DeferredToolResults(
            approvals={call.tool_call_id: _approval(decision) for call, decision in approved},
            calls={call.tool_call_id: _outcome(result) for call, result in returned},
            metadata=requests.metadata,
        )
        # What is not approved, and what a client has done, is shown already.
        denied = {id for id, approval in found.approvals.items() if approval is not True}
        self._parts.silent |= denied | found.calls.keys()
        self._decided = {*found.approvals, *found.calls}
        return found


def _ran(part: ToolCallPart) -> bool:
    """Whether a tool call of the answer has run, or may have."""
    if part.state == "pending":
        return False
    return part.question is UNSET or part.question.state == "approved"


def _approval(decision: Decision) -> bool | ToolDenied:
    if decision.approved:
        return True
    return ToolDenied(decision.message) if decision.message else ToolDenied()


def _outcome(result: CallResult) -> Any:
    return result.output if result.error is None else ToolFailed(result.error)

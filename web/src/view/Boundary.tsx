import { Component, type ReactNode } from "react";

type Given = { instead: ReactNode; children: ReactNode };

/** What it contains, or something else if that cannot be shown: the rest of the page goes on. */
export class Boundary extends Component<Given, { failed: boolean }> {
  override state = { failed: false };

  static getDerivedStateFromError() {
    return { failed: true };
  }

  override render() {
    return this.state.failed ? this.props.instead : this.props.children;
  }
}

/**
 * Renders Markdown as React elements; HTML in it is shown as text.
 *
 * A growing text is split into blocks, and only the last one is parsed again.
 */

import { Component, createContext, memo, type ReactNode, useContext, useRef } from "react";
import ReactMarkdown, { type Components } from "react-markdown";
import { CodeBlock } from "./CodeBlock.tsx";
import { Elsewhere } from "./Elsewhere.tsx";
import { Icon } from "./icons.tsx";
import { blocksOf, type Cut } from "./markdown/blocks.ts";
import { ourMarkdown } from "./markdown/syntax.ts";
import { ownImage, safeLink, unhidden } from "./text.ts";

/** Characters: longer blocks (except code) and longer texts are shown as plain text. */
const LONGEST_BLOCK = 50_000;
const LONGEST = 200_000;

/** Lists and quotes nested this deeply would take seconds to parse. */
const TOO_DEEP = /^(?:[ \t]{120}|(?:[ \t]*(?:>|[-*+][ \t]|\d+[.)][ \t])){30})/m;

/** More markup characters than this in a paragraph would also take seconds. */
const MOST_MARKS = 2_000;

function isTooMuch(text: string): boolean {
  if (text.length > LONGEST || TOO_DEEP.test(text)) return true;
  return text.split(/\n[ \t]*\n/).some((part) => {
    return part.length > MOST_MARKS && (part.match(/[*_~`[\]<]/g)?.length ?? 0) > MOST_MARKS;
  });
}

/** Whether the surrounding text may still grow. */
const Growing = createContext(false);

const components: Components = {
  a({ href, children }) {
    return <Elsewhere to={href ?? ""}>{children}</Elsewhere>;
  },
  img({ src, alt }) {
    const address = typeof src === "string" ? src : "";
    const image = ownImage(address);
    if (image) return <img src={image} alt={alt ?? ""} />;
    return (
      <Elsewhere to={address}>
        {safeLink(address) && <Icon name="link" />}
        {alt || "image"}
      </Elsewhere>
    );
  },
  code({ children }) {
    return <code>{typeof children === "string" ? unhidden(children) : children}</code>;
  },
  pre({ node }) {
    const code = node?.children[0];
    if (code?.type !== "element") return null;
    const language = String(code.properties.className ?? "").match(/language-([\w+#.-]+)/)?.[1];
    const text = code.children.map((child) => (child.type === "text" ? child.value : "")).join("");
    return <Fenced code={text.replace(/\n$/, "")} language={language} />;
  },
  table({ children }) {
    return (
      <div className="table" role="group" aria-label="Table" tabIndex={0}>
        <table>{children}</table>
      </div>
    );
  },
  input({ checked }) {
    return <input type="checkbox" checked={checked} disabled aria-label="Task" />;
  },
};

function Fenced({ code, language }: { code: string; language: string | undefined }) {
  return <CodeBlock code={code} language={language} growing={useContext(Growing)} />;
}

/** If deep nesting makes the parser fail, the text is shown as it is. */
class OrPlain extends Component<{ text: string; children: ReactNode }, { failed: boolean }> {
  override state = { failed: false };

  static getDerivedStateFromError() {
    return { failed: true };
  }

  override render() {
    return this.state.failed ? <Plain text={this.props.text} /> : this.props.children;
  }
}

function Plain({ text }: { text: string }) {
  return <div className="plain">{text}</div>;
}

const Block = memo(function Block({ text, growing }: { text: string; growing: boolean }) {
  if (text.length > LONGEST_BLOCK && !/^\s*(```|~~~)/.test(text)) return <Plain text={text} />;
  return (
    <OrPlain text={text}>
      <Growing.Provider value={growing}>
        <ReactMarkdown
          remarkPlugins={[ourMarkdown]}
          components={components}
          urlTransform={(address) => address /* `a` and `img` see to it */}
        >
          {text}
        </ReactMarkdown>
      </Growing.Provider>
    </OrPlain>
  );
});

export function Markdown({ text, growing = false }: { text: string; growing?: boolean }) {
  const cut = useRef<Cut>({ text: "", blocks: [] });
  if (isTooMuch(text)) return <Plain text={text} />;
  if (cut.current.text !== text) {
    let blocks: string[];
    try {
      blocks = blocksOf(text, cut.current);
    } catch {
      return <Plain text={text} />;
    }
    cut.current = { text, blocks };
  }
  const { blocks } = cut.current;
  return (
    <div className="markdown">
      {blocks.map((block, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: a block's place is what it is
        <Block key={index} text={block} growing={growing && index === blocks.length - 1} />
      ))}
    </div>
  );
}

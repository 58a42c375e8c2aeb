//! A page of tables and figures in one file.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Error;
use crate::save::save_text;

const STYLE: &str = "\
:root { color-scheme: light dark; --ink: #1d2530; --soft: #667085; --line: #d7dce3; --paper: #fff; --tile: #f4f6f9 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ee; --soft: #9aa4b2; --line: #3a4250; --paper: #171b21; --tile: #222832 }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 1240px; margin: 0 auto; padding: 24px }
h1 { font-size: 26px; margin: 0 0 4px } h2 { font-size: 19px; margin: 36px 0 10px }
p { max-width: 75ch } .lead { color: var(--soft); margin-top: 0 }
.tiles { display: flex; flex-wrap: wrap; gap: 10px; margin: 18px 0 }
.tile { background: var(--tile); border: 1px solid var(--line); border-radius: 8px; padding: 8px 16px; min-width: 84px }
.tile b { display: block; font-size: 22px; font-variant-numeric: tabular-nums } .tile span { color: var(--soft) }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { border-bottom: 1px solid var(--line); padding: 3px 14px 3px 0; text-align: right; vertical-align: top }
th { font-weight: 600; color: var(--soft) } th:first-child, td:first-child { text-align: left }
.facts td { text-align: left } .facts td:first-child { color: var(--soft) }
.figures { display: flex; flex-wrap: wrap; gap: 16px }
figure { margin: 0; max-width: 100% } figcaption { color: var(--soft) }
img { max-width: 100%; border: 1px solid var(--line); border-radius: 6px; background: #fff }
.chart img { width: 584px }
pre { background: var(--tile); border: 1px solid var(--line); border-radius: 8px; padding: 12px; overflow-x: auto;
  font: 13px/1.45 ui-monospace, monospace }
summary { cursor: pointer; color: var(--soft) }";

/// An HTML page that stands alone: its figures are in it, and it asks nothing of a network.
///
/// Texts are shown as they are, whatever they hold.
#[derive(Debug, Clone)]
pub struct Page {
    title: String,
    body: String,
}

impl Page {
    /// A page with a title and, under it, a line that says what it is about.
    pub fn new(title: &str, lead: &str) -> Self {
        let title = escape(title);
        let body = format!("<h1>{title}</h1>\n<p class=\"lead\">{}</p>\n", escape(lead));
        Self { title, body }
    }

    /// Begins a section.
    pub fn heading(&mut self, text: &str) {
        let _ = writeln!(self.body, "<h2>{}</h2>", escape(text));
    }

    /// Adds a paragraph.
    pub fn paragraph(&mut self, text: &str) {
        let _ = writeln!(self.body, "<p>{}</p>", escape(text));
    }

    /// Adds numbers that meet the eye, each with its name.
    pub fn tiles<'a>(&mut self, tiles: impl IntoIterator<Item = (&'a str, String)>) {
        self.body.push_str("<div class=\"tiles\">");
        for (name, value) in tiles {
            let _ = write!(
                self.body,
                "<div class=\"tile\"><b>{}</b><span>{}</span></div>",
                escape(&value),
                escape(name)
            );
        }
        self.body.push_str("</div>\n");
    }

    /// Adds names with what they are.
    pub fn facts<'a>(&mut self, facts: impl IntoIterator<Item = (&'a str, String)>) {
        self.body.push_str("<table class=\"facts\">\n");
        for (name, value) in facts {
            let _ = writeln!(self.body, "<tr><td>{}</td><td>{}</td></tr>", escape(name), escape(&value));
        }
        self.body.push_str("</table>\n");
    }

    /// Adds a table; its first column is of names, the others are of numbers.
    pub fn table(&mut self, columns: &[&str], rows: &[Vec<String>]) {
        self.body.push_str("<div class=\"wide\"><table>\n<tr>");
        for column in columns {
            let _ = write!(self.body, "<th>{}</th>", escape(column));
        }
        self.body.push_str("</tr>\n");
        for row in rows {
            let cells: String = row.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
            let _ = writeln!(self.body, "<tr>{cells}</tr>");
        }
        self.body.push_str("</table></div>\n");
    }

    /// Adds text of fixed width.
    pub fn preformatted(&mut self, text: &str) {
        let _ = writeln!(self.body, "<pre>{}</pre>", escape(text));
    }

    /// Adds text of fixed width that shows when its summary is clicked on.
    pub fn folded(&mut self, summary: &str, text: &str) {
        let _ = writeln!(
            self.body,
            "<details><summary>{}</summary><pre>{}</pre></details>",
            escape(summary),
            escape(text)
        );
    }

    /// Adds pictures (SVG, PNG or JPEG files), each with a caption; charts are shown beside each other.
    ///
    /// # Errors
    /// [`Error::Read`] if a file cannot be read.
    pub fn figures<P: AsRef<Path>>(&mut self, figures: &[(P, &str)]) -> Result<(), Error> {
        self.body.push_str("<div class=\"figures\">\n");
        for (path, caption) in figures {
            let path = path.as_ref();
            let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.into(), source })?;
            let extension = path.extension().unwrap_or_default().to_string_lossy();
            let (kind, class) = match extension.as_ref() {
                "svg" => ("svg+xml", "chart"),
                "png" => ("png", "picture"),
                _ => ("jpeg", "picture"),
            };
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let (name, caption) = (escape(&name), escape(caption));
            let _ = writeln!(
                self.body,
                "<figure class=\"{class}\" id=\"{name}\"><img alt=\"{caption}\" src=\"data:image/{kind};base64,{}\">\
                 <figcaption>{caption}</figcaption></figure>",
                STANDARD.encode(bytes)
            );
        }
        self.body.push_str("</div>\n");
        Ok(())
    }

    /// Writes the page, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Write`] if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let page = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n<style>\n{STYLE}\n</style>\n\
             {}</html>\n",
            self.title, self.body
        );
        save_text(path, &page).map_err(|source| Error::Write { path: path.into(), source })
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_break_out_of_the_page() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.html");
        let mut page = Page::new("a <b>", "<script>");
        page.heading("<i>");
        page.tiles([("\"AP\"", "<1>".to_owned())]);
        page.facts([("a & b", "<2>".to_owned())]);
        page.table(&["<th>"], &[vec!["<td>".to_owned()]]);
        page.preformatted("5 < 6 & 7");
        page.folded("<s>", "</pre>");
        page.save(&path).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        for part in [
            "a &lt;b&gt;",
            "&lt;script&gt;",
            "&lt;i&gt;",
            "&quot;AP&quot;",
            "5 &lt; 6 &amp; 7",
            "&lt;/pre&gt;",
        ] {
            assert!(text.contains(part), "{part}");
        }
        assert!(!text.contains("<script>") && text.matches("</pre>").count() == 2);
    }

    #[test]
    fn figures_are_in_the_page_and_one_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let chart = folder.path().join("loss.svg");
        std::fs::write(&chart, "<svg/>").unwrap();
        let mut page = Page::new("t", "");
        page.figures(&[(&chart, "\"Loss\"")]).unwrap();
        page.save(folder.path().join("p.html")).unwrap();
        let text = std::fs::read_to_string(folder.path().join("p.html")).unwrap();
        assert!(text.contains("id=\"loss.svg\"") && text.contains("data:image/svg+xml;base64,PHN2Zy8+"));
        assert!(text.contains("&quot;Loss&quot;"));
        let error = page.figures(&[("/no/such/chart.svg", "")]).unwrap_err();
        assert!(error.to_string().contains("/no/such/chart.svg"));
        let error = page.save("/no/such/folder/index.html").unwrap_err();
        assert!(error.to_string().contains("/no/such/folder/index.html"));
    }
}

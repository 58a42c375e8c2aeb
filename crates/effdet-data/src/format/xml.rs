//! The elements of an XML file that hold text, by their path.

use quick_xml::Reader;
use quick_xml::events::Event;

/// Deepest nesting that is followed.
const MAX_DEPTH: usize = 64;

/// What was met, with the names of the elements around it from the root on.
pub(super) enum Item<'a> {
    Start(&'a [String]),
    /// An element without children, at its end.
    Text(&'a [String], &'a str),
}

/// Walks the file; the error is the byte and what is wrong.
pub(super) fn walk(text: &str, mut visit: impl FnMut(Item<'_>)) -> Result<(), (u64, String)> {
    let mut reader = Reader::from_str(text);
    let mut path: Vec<String> = Vec::new();
    let mut content = String::new();
    let mut is_leaf = false;
    let mut any = false;
    loop {
        let event = reader.read_event().map_err(|error| (reader.error_position(), error.to_string()))?;
        match event {
            Event::Start(start) => {
                any = true;
                if path.len() == MAX_DEPTH {
                    let reason = format!("elements are nested more than {MAX_DEPTH} deep");
                    return Err((reader.buffer_position(), reason));
                }
                path.push(start.name().as_ref().to_owned());
                content.clear();
                is_leaf = true;
                visit(Item::Start(&path));
            }
            Event::Empty(start) => {
                any = true;
                path.push(start.name().as_ref().to_owned());
                visit(Item::Start(&path));
                visit(Item::Text(&path, ""));
                path.pop();
                is_leaf = false;
            }
            Event::End(_) => {
                if is_leaf {
                    visit(Item::Text(&path, content.trim()));
                }
                path.pop();
                is_leaf = false;
            }
            Event::Text(text) if is_leaf => content.push_str(&text.xml10_content()),
            Event::CData(text) if is_leaf => content.push_str(&text.xml10_content()),
            Event::GeneralRef(reference) if is_leaf => {
                let bad = |reason: String| (reader.buffer_position(), reason);
                let known = match reference.resolve_char_ref().map_err(|error| bad(error.to_string()))? {
                    Some(character) => Some(character),
                    None => match reference.xml10_content().as_ref() {
                        "amp" => Some('&'),
                        "lt" => Some('<'),
                        "gt" => Some('>'),
                        "quot" => Some('"'),
                        "apos" => Some('\''),
                        _ => None,
                    },
                };
                match known {
                    Some(character) => content.push(character),
                    None => return Err(bad(format!("unknown entity `{}`", reference.xml10_content()))),
                }
            }
            Event::Eof => break,
            _ => {}
        }
    }
    match path.last() {
        Some(open) => Err((reader.buffer_position(), format!("the file ends inside <{open}>"))),
        None if !any => Err((0, "no XML element".to_owned())),
        None => Ok(()),
    }
}

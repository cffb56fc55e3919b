//! Items of a source as rustfmt formats it, as far as the list of public items needs them.

/// Attributes that programs see.
const ATTRIBUTES: [&str; 6] =
    ["#[derive", "#[non_exhaustive", "#[must_use", "#[repr", "#[deprecated", "#[doc(hidden"];

/// An item of a source: its attributes, and its lines without comments.
pub struct Item {
    pub attributes: Vec<String>,
    pub lines: Vec<String>,
}

/// Returns the items that start at this depth of indentation. A line of that depth ends an item.
pub fn items<'a>(lines: impl IntoIterator<Item = &'a str>, depth: usize) -> Vec<Item> {
    let indent = " ".repeat(depth);
    let mut items = Vec::new();
    let (mut attributes, mut item) = (Vec::new(), Vec::<String>::new());
    let code =
        lines.into_iter().filter(|line| !line.trim().is_empty() && !line.trim().starts_with("//"));
    for line in code {
        let line = line.split(" // ").next().unwrap();
        let here = line.strip_prefix(&indent).filter(|rest| !rest.starts_with(' '));
        let in_attribute = attributes.last().is_some_and(|last: &String| !last.ends_with(']'));
        if item.is_empty() && in_attribute {
            attributes.last_mut().unwrap().push_str(line.trim());
            continue;
        }
        if item.is_empty() && line.trim().starts_with('#') {
            attributes.push(line.trim().to_owned());
            continue;
        }
        item.push(line.to_owned());
        let is_last =
            |rest: &str| rest.ends_with(';') || rest.ends_with('}') || rest.ends_with(',');
        // A value on a line of its own is indented further.
        if here.is_some_and(is_last) || item[0].ends_with('=') && line.ends_with(';') {
            let item = Item {
                attributes: std::mem::take(&mut attributes),
                lines: std::mem::take(&mut item),
            };
            items.push(item);
        }
    }
    items
}

impl Item {
    /// Returns the item in one line, without its body.
    pub fn head(&self) -> String {
        let head = self.lines.iter().position(|line| line.ends_with('{') || line.ends_with("{}"));
        let lines = &self.lines[..=head.unwrap_or(self.lines.len() - 1)];
        in_one_line(lines)
            .trim_end_matches("{}")
            .trim_end_matches(['{', ';', ','])
            .trim_end()
            .to_owned()
    }

    pub fn inner(&self) -> Vec<Item> {
        // The bounds after `where` belong to the head.
        let head = self.lines.iter().position(|line| line.ends_with('{')).unwrap_or(0);
        let inner = self.lines.get(head + 1..self.lines.len().saturating_sub(1));
        let inner = inner.unwrap_or_default();
        items(inner.iter().map(String::as_str), 4)
    }

    pub fn attributes(&self) -> String {
        let counting = |line: &&String| ATTRIBUTES.iter().any(|start| line.starts_with(start));
        self.attributes.iter().filter(counting).map(|line| format!("{line} ")).collect()
    }

    /// Returns the name that this item defines, if it is a type, a trait, a function or a constant.
    pub fn defines(&self) -> Option<String> {
        let head = self.head();
        let mut words = head.split(|char: char| !char.is_alphanumeric() && char != '_');
        words.find(|word| ["struct", "enum", "trait", "fn", "const", "type"].contains(word))?;
        words.next().map(str::to_owned)
    }

    pub fn is_public(&self) -> bool {
        self.lines[0].trim_start().starts_with("pub ")
    }
}

pub fn in_one_line(lines: &[String]) -> String {
    let joined = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    joined.replace("( ", "(").replace(", )", ")").replace(", }", " }").replace("(mut self", "(self")
}

/// Returns the last name of a path, without angle brackets.
fn bare(path: &str) -> String {
    let path = path.split('<').next().unwrap().trim().trim_start_matches("unsafe ");
    path.rsplit("::").next().unwrap().to_owned()
}

/// Returns the trait of an `impl`, if any, and the type.
pub fn subject(head: &str) -> Option<(Option<String>, String)> {
    let head = head.trim_start_matches("unsafe ").strip_prefix("impl")?;
    let mut depth = 0_usize;
    let end = head.char_indices().find(|(index, char)| {
        match char {
            '<' => depth += 1,
            '>' if !head[..*index].ends_with('-') => depth -= 1,
            _ => {}
        }
        *char == ' ' && depth == 0
    });
    let rest = head[end?.0..].trim();
    Some(match rest.split_once(" for ") {
        Some((of, subject)) => (Some(bare(of)), bare(subject)),
        None => (None, bare(rest)),
    })
}

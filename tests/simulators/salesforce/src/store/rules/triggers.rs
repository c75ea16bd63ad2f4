//! Triggers and failing flows as configuration: what they change, refuse, create and touch.

use crate::schema::Object;
use crate::store::db::Db;
use crate::store::formula::{Formula, Scope};
use crate::store::row::{Draft, Row};
use crate::store::rules::{Column, Input, Scratch, WriteContext, write};
use crate::store::setup::ObjectSetup;
use crate::store::value::{self, RowError};

/// Deepest chain of triggers that set each other off, as the service bounds it.
const DEPTH_MAX: u8 = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    BeforeInsert,
    BeforeUpdate,
    BeforeDelete,
    AfterInsert,
    AfterUpdate,
    AfterDelete,
}

impl Event {
    pub fn is_before(self) -> bool {
        matches!(self, Self::BeforeInsert | Self::BeforeUpdate | Self::BeforeDelete)
    }

    fn name(self) -> &'static str {
        match self {
            Self::BeforeInsert => "BeforeInsert",
            Self::BeforeUpdate => "BeforeUpdate",
            Self::BeforeDelete => "BeforeDelete",
            Self::AfterInsert => "AfterInsert",
            Self::AfterUpdate => "AfterUpdate",
            Self::AfterDelete => "AfterDelete",
        }
    }
}

/// Where a cell's new value comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// In stored form; empty is null.
    Literal(Vec<u8>),
    /// A field of the triggering record.
    Field(usize),
}

#[derive(Debug, Clone)]
pub enum Action {
    Set {
        field: usize,
        source: Source,
    },
    AddError {
        message: String,
        field: Option<usize>,
    },
    Throw(String),
    FailFlow(String),
    Create {
        object: usize,
        link: Option<usize>,
        cells: Vec<(usize, Source)>,
    },
    Touch {
        field: usize,
    },
}

#[derive(Debug, Clone)]
pub struct Trigger {
    pub name: String,
    pub events: Vec<Event>,
    pub condition: Option<Formula>,
    pub actions: Vec<Action>,
}

impl Trigger {
    fn thrown(&self, event: Event, cause: &str) -> RowError {
        let name = &self.name;
        RowError::new(
            "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
            format!(
                "{name}: execution of {}\n\ncaused by: {cause}\n\nTrigger.{name}: line 1, column 1",
                event.name()
            ),
            &[],
        )
    }

    fn refuse(&self, event: Event, action: &Action, meta: &Object) -> Result<(), RowError> {
        match action {
            Action::AddError { message, field } => {
                let shown: Vec<&str> = field.iter().map(|f| meta.fields[*f].name.as_str()).collect();
                Err(RowError::new("FIELD_CUSTOM_VALIDATION_EXCEPTION", message, &shown))
            }
            Action::Throw(cause) => Err(self.thrown(event, cause)),
            Action::FailFlow(cause) => Err(RowError::new(
                "CANNOT_EXECUTE_FLOW_TRIGGER",
                format!(
                    "We can't save this record because the “{}” process failed. Give your Salesforce admin these details. {cause}",
                    self.name
                ),
                &[],
            )),
            Action::Set { .. } | Action::Create { .. } | Action::Touch { .. } => Ok(()),
        }
    }

    fn inner(&self, event: Event, what: &str, error: &RowError) -> RowError {
        // The innermost message travels outwards whole, as stack traces do.
        let fields = error.fields.join(", ");
        let cause = format!(
            "System.DmlException: {what} failed. First exception on row 0; first error: {}, {}: [{fields}]",
            error.code, error.message
        );
        self.thrown(event, &cause)
    }
}

/// Whether any trigger of the object listens to the event.
pub(super) fn listens(setup: &ObjectSetup, event: Event) -> bool {
    setup.triggers.iter().any(|t| t.events.contains(&event))
}

/// Runs the before triggers: cells change in the draft and count as given.
pub(super) fn before(
    setup: &ObjectSetup,
    event: Event,
    context: &WriteContext,
    meta: &Object,
    stored: Option<&Row>,
    draft: &mut Draft,
    given: &mut [bool],
) -> Result<(), RowError> {
    for trigger in setup.triggers.iter().filter(|t| t.events.contains(&event)) {
        let scope = Scope {
            meta,
            draft,
            before: stored,
            now: &context.now,
        };
        if trigger.condition.as_ref().is_some_and(|c| !c.holds(&scope)) {
            continue;
        }
        for action in &trigger.actions {
            trigger.refuse(event, action, meta)?;
            if let Action::Set { field, source } = action {
                let text = match source {
                    Source::Literal(text) => text.clone(),
                    Source::Field(from) => copied(meta, *from, *field, draft).map_err(|e| trigger.inner(event, "Assignment", &e))?,
                };
                draft.set(*field, &text);
                given[*field] = true;
            }
        }
    }
    Ok(())
}

fn copied(meta: &Object, from: usize, to: usize, draft: &Draft) -> Result<Vec<u8>, RowError> {
    let mut text = Vec::new();
    if let Some(raw) = draft.get(from) {
        value::normalise(&meta.fields[to], raw, &mut text)?;
    }
    Ok(text)
}

/// Runs the after triggers of a stored (or just deleted) row.
pub(super) fn after(
    setup: &ObjectSetup,
    event: Event,
    db: &mut Db,
    context: &WriteContext,
    object: usize,
    index: u32,
    stored: Option<&Row>,
) -> Result<(), RowError> {
    let schema = std::sync::Arc::clone(&db.schema);
    let meta = &schema.objects[object];
    let mut draft = Draft::default();
    for trigger in setup.triggers.iter().filter(|t| t.events.contains(&event)) {
        draft.load(db.tables[object].row(index), meta.fields.len());
        let scope = Scope {
            meta,
            draft: &draft,
            before: stored,
            now: &context.now,
        };
        if trigger.condition.as_ref().is_some_and(|c| !c.holds(&scope)) {
            continue;
        }
        if context.depth >= DEPTH_MAX {
            return Err(trigger.thrown(event, "System.DmlException: maximum trigger depth exceeded"));
        }
        let nested = context.nested();
        for action in &trigger.actions {
            trigger.refuse(event, action, meta)?;
            match action {
                Action::Create { object, link, cells } => {
                    create(db, &nested, &draft, *object, *link, cells).map_err(|e| trigger.inner(event, "Insert", &e))?;
                }
                Action::Touch { field } => {
                    let parent = draft.get(*field).and_then(|id| db.locate_text(id));
                    if let Some((parent, at)) = parent {
                        write(db, &nested, parent, Some(at), &[], &mut Scratch::default())
                            .map_err(|e| trigger.inner(event, "Update", &e))?;
                    }
                }
                Action::Set { .. } | Action::AddError { .. } | Action::Throw(_) | Action::FailFlow(_) => {}
            }
        }
    }
    Ok(())
}

fn create(
    db: &mut Db,
    context: &WriteContext,
    draft: &Draft,
    object: usize,
    link: Option<usize>,
    cells: &[(usize, Source)],
) -> Result<u32, RowError> {
    let mut inputs: Vec<(Column, Input<'_>)> = Vec::with_capacity(cells.len() + 1);
    if let (Some(link), Some(id)) = (link, draft.get(0)) {
        inputs.push((Column::Field(link), Input::Text(id)));
    }
    for (field, source) in cells {
        let text = match source {
            Source::Literal(text) => text.as_slice(),
            Source::Field(from) => draft.get(*from).unwrap_or_default(),
        };
        inputs.push((Column::Field(*field), Input::Text(text)));
    }
    write(db, context, object, None, &inputs, &mut Scratch::default())
}

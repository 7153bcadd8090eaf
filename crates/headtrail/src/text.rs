//! The text form.
pub(crate) struct Style;
impl Style {
    pub(crate) fn new(_verbose: bool, _colour: bool, _width: Option<usize>) -> Self {
        Self
    }
}
pub(crate) fn write_transaction(
    out: &mut Vec<u8>,
    t: &headtrail_record::transaction::Transaction,
    context: &headtrail_record::json::Context<'_>,
    _style: &Style,
) {
    headtrail_record::json::write_transaction(out, t, context);
}

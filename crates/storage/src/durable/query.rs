//! The dispatch between the two durable engines.

/// Runs one statement in a [`crate::Tx`] on the engine it belongs to, counts it and maps its error.
///
/// The text is written once, in SQL that both engines read the same way (`$1`, `RETURNING`, `ON CONFLICT`).
/// `all T` and `optional T` read rows into `T`; `values T`, `value T` (at most one) and `one T` read their
/// first column; `execute` answers how many rows were touched.
macro_rules! query {
    ($tx:expr, all $row:ty, $sql:expr $(, $argument:expr)* $(,)?) => {
        $crate::durable::query!(@ $tx, sqlx::query_as::<_, $row>, fetch_all, $sql, $($argument,)*)
    };
    ($tx:expr, optional $row:ty, $sql:expr $(, $argument:expr)* $(,)?) => {
        $crate::durable::query!(@ $tx, sqlx::query_as::<_, $row>, fetch_optional, $sql, $($argument,)*)
    };
    ($tx:expr, values $row:ty, $sql:expr $(, $argument:expr)* $(,)?) => {
        $crate::durable::query!(@ $tx, sqlx::query_scalar::<_, $row>, fetch_all, $sql, $($argument,)*)
    };
    ($tx:expr, value $row:ty, $sql:expr $(, $argument:expr)* $(,)?) => {
        $crate::durable::query!(@ $tx, sqlx::query_scalar::<_, $row>, fetch_optional, $sql, $($argument,)*)
    };
    ($tx:expr, one $row:ty, $sql:expr $(, $argument:expr)* $(,)?) => {
        $crate::durable::query!(@ $tx, sqlx::query_scalar::<_, $row>, fetch_one, $sql, $($argument,)*)
    };
    ($tx:expr, execute, $sql:expr $(, $argument:expr)* $(,)?) => {{
        $tx.count_statement();
        match $tx.engine() {
            $crate::durable::Engine::Postgres(transaction) => {
                let done = sqlx::query($sql)$(.bind($argument))*.execute(&mut **transaction).await;
                done.map(|done| done.rows_affected())
            }
            $crate::durable::Engine::Sqlite(transaction) => {
                let done = sqlx::query($sql)$(.bind($argument))*.execute(&mut **transaction).await;
                done.map(|done| done.rows_affected())
            }
        }
        .map_err(|error| $tx.failed(error))
    }};
    (@ $tx:expr, $query:expr, $fetch:ident, $sql:expr, $($argument:expr,)*) => {{
        $tx.count_statement();
        match $tx.engine() {
            $crate::durable::Engine::Postgres(transaction) => {
                $query($sql)$(.bind($argument))*.$fetch(&mut **transaction).await
            }
            $crate::durable::Engine::Sqlite(transaction) => {
                $query($sql)$(.bind($argument))*.$fetch(&mut **transaction).await
            }
        }
        .map_err(|error| $tx.failed(error))
    }};
}

pub(crate) use query;

//! The feed's pages, made once for all followers that want the same one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::OnceCell;

use crate::store::feed::{FeedPage, FeedQuery};
use crate::store::{Store, StoreError};

type Cell = Arc<OnceCell<Arc<FeedPage>>>;

/// The last pages. A fleet is woken by one change and asks for one page; it is read once.
#[derive(Default)]
pub struct PageCache(Mutex<VecDeque<((FeedQuery, i64), Cell)>>);

/// A page may have 4 MiB.
const PAGES: usize = 8;

impl PageCache {
    /// The page; `head` is the last revision at the time of asking.
    pub async fn page(
        &self,
        store: &Store,
        query: &FeedQuery,
        head: i64,
    ) -> Result<Arc<FeedPage>, StoreError> {
        let cell = self.cell(query, head);
        let page = cell
            .get_or_try_init(|| async { store.feed(query).await.map(Arc::new) })
            .await?;
        Ok(page.clone())
    }

    fn cell(&self, query: &FeedQuery, head: i64) -> Cell {
        let wanted = (query.clone(), head);
        let Ok(mut pages) = self.0.lock() else {
            return Cell::default();
        };
        if let Some((_, cell)) = pages.iter().find(|(key, _)| *key == wanted) {
            return cell.clone();
        }
        // What was made for an earlier head will not be asked for again.
        pages.retain(|((_, at), _)| *at == head);
        if pages.len() >= PAGES {
            pages.pop_front();
        }
        let cell = Cell::default();
        pages.push_back((wanted, cell.clone()));
        cell
    }
}

//! Many at once, and what the keeper holds for others.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};

use anyhow::{Context, Result, ensure};
use contract::Runtime;
use futures::future::try_join_all;

use super::{POD, Pod, spec};
use crate::world::{World, block_on};

pub(crate) fn descriptors() -> Result<()> {
    let world = World::new()?;
    block_on(async {
        let (reader, writer) = rustix::pipe::pipe()?;
        world.driver().await?.store_fd("pipe", reader).await?;
        File::from(writer).write_all(b"waits")?;
        let driver = world.driver().await?;
        let mut text = String::new();
        File::from(driver.stored_fd("pipe").await?.context("the descriptor")?).read_to_string(&mut text)?;
        ensure!(text == "waits" && driver.stored_fd("other").await?.is_none());
        world.end().await
    })
}

pub(crate) fn fifty_at_once() -> Result<()> {
    let world = World::new()?;
    block_on(async {
        let mut pod = Pod::new(&world).await?;
        let specs = (0..50).map(|at| spec(&world, &format!("c{at}"), &["sh", "-c", "exit 3"])).collect::<Result<Vec<_>>>()?;
        try_join_all(specs.iter().map(|spec| pod.driver.start(spec))).await?;
        let mut ended = BTreeSet::new();
        for _ in 0..50 {
            let exit = pod.next_exit().await?;
            ensure!(exit.code == 3, "{exit:?}");
            ended.insert(exit.id);
        }
        ensure!(ended.len() == 50);
        pod.driver.remove_sandbox(POD).await?;
        ensure!(pod.driver.observe().await?.is_empty());
        world.end().await
    })
}

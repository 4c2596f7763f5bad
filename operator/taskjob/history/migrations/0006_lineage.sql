-- Which server, and which of its timelines, wrote last. One that was promoted, or restored from a backup, may lack
-- transitions that were acknowledged and streamed before it: cursors must then not be taken for its own.
ALTER TABLE meta ADD COLUMN lineage text NOT NULL DEFAULT '';

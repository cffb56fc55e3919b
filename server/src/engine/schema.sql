-- The tables and functions of all lotteries of a database. The supervisor runs this file once, in
-- one transaction. A change of it needs another version.
--
-- Locks are taken in this order: the row of the lottery, the row of the central, rows of workers,
-- rows of sessions.

CREATE SCHEMA lottery;

CREATE TABLE lottery.version (version int NOT NULL);
INSERT INTO lottery.version VALUES (2);

-- One row per lottery.
CREATE TABLE lottery.lotteries (
    lottery text PRIMARY KEY,
    -- Agencies that the draw waits for.
    expected int NOT NULL,
    -- The agencies that count for the draw; null if all do.
    roster int[],
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'closed', 'drawn')),
    -- True if the draw waits for an operator, and true once one has confirmed it.
    confirm bool NOT NULL,
    confirmed bool NOT NULL DEFAULT false,
    -- How often an operator has opened the bets again.
    reopened bigint NOT NULL DEFAULT 0,
    -- Bets and winners that the draw was held over.
    drawn_bets bigint,
    drawn_winners bigint
);

-- One row per central. A start replaces the instance, and fences every process of the one before.
CREATE TABLE lottery.centrals (
    lottery text NOT NULL,
    central text NOT NULL,
    instance text NOT NULL,
    -- When it has started; null after a stop.
    started timestamptz,
    PRIMARY KEY (lottery, central)
);

-- One row per worker slot of a central, so that no row is contended.
CREATE TABLE lottery.workers (
    lottery text NOT NULL,
    central text NOT NULL,
    slot int NOT NULL,
    -- Connections that have claimed the row. Only the last one may store.
    epoch bigint NOT NULL,
    -- Groups stored.
    seq bigint NOT NULL DEFAULT 0,
    -- False once bets are closed. Closing waits for a running store, which has locked the row.
    open bool NOT NULL,
    -- Totals of what is stored.
    batches bigint NOT NULL DEFAULT 0,
    bets bigint NOT NULL DEFAULT 0,
    winners bigint NOT NULL DEFAULT 0,
    in_flight int NOT NULL DEFAULT 0,
    -- Last sign of life; null after a stop.
    seen timestamptz,
    -- The outcome of the last group, see `store`.
    outcome bigint[],
    PRIMARY KEY (lottery, central, slot)
) WITH (fillfactor = 20);

-- Numbers the groups in an order in which a client that waits for its acknowledgements sees them.
CREATE SEQUENCE lottery.places;

-- The rows of bets.csv, one row per group that a worker has stored.
CREATE TABLE lottery.groups (
    lottery text NOT NULL,
    central text NOT NULL,
    slot int NOT NULL,
    seq bigint NOT NULL,
    -- Place in the order of storage.
    place bigint NOT NULL,
    batches int NOT NULL,
    bets bigint NOT NULL,
    rows bytea NOT NULL,
    PRIMARY KEY (lottery, central, slot, seq)
);
DO $$ BEGIN
    ALTER TABLE lottery.groups ALTER COLUMN rows SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    NULL;
END $$;

-- The winners among them, in the order of winners.log.
CREATE TABLE lottery.winners (
    lottery text NOT NULL,
    central text NOT NULL,
    slot int NOT NULL,
    seq bigint NOT NULL,
    ord int NOT NULL,
    -- Place of their group in the order of storage.
    place bigint NOT NULL,
    agency int NOT NULL,
    document text NOT NULL,
    -- True if the bet has a number. The draw reports no other winner.
    numbered bool NOT NULL,
    -- The line of winners.log, without its end.
    line text NOT NULL,
    PRIMARY KEY (lottery, central, slot, seq, ord)
);

-- The last batch of each session of the dialect keyed.
CREATE TABLE lottery.sessions (
    lottery text NOT NULL,
    session bytea NOT NULL,
    agency int NOT NULL,
    sequence bigint NOT NULL,
    content bigint NOT NULL,
    PRIMARY KEY (lottery, session)
);

CREATE TABLE lottery.finished (
    lottery text NOT NULL,
    agency int NOT NULL,
    PRIMARY KEY (lottery, agency)
);

-- The result of the draw.
CREATE TABLE lottery.draw (
    lottery text NOT NULL,
    agency int NOT NULL,
    ord bigint NOT NULL,
    document text NOT NULL,
    PRIMARY KEY (lottery, agency, ord)
);

-- Returns the age in milliseconds of the last sign of life of a central that is alive: its lease has
-- not ended and it is connected, or it has just started. Null if there is none.
CREATE FUNCTION lottery.alive(p_lottery text, p_central text) RETURNS bigint
LANGUAGE sql AS $$
    SELECT (1000 * extract(epoch FROM clock_timestamp() - greatest(c.started, s.seen)))::bigint
    FROM lottery.centrals c, LATERAL (
        SELECT max(w.seen) AS seen FROM lottery.workers w
        WHERE w.lottery = p_lottery AND w.central = p_central) s
    WHERE c.lottery = p_lottery AND c.central = p_central
        AND (c.started > clock_timestamp() - interval '3 s'
            OR s.seen > clock_timestamp() - interval '10 s' AND EXISTS (
                SELECT FROM pg_stat_activity a
                WHERE a.application_name = 'lottery ' || c.instance))
$$;

-- Starts a central: creates the lottery if necessary, and makes this instance the only one with its
-- name. Nothing changes if another instance with its name is alive, or another central that was
-- started with other settings. Returns one row: the age of the last sign of life of that instance, or
-- null, the name of that central, or null, the state of the lottery, and its settings.
CREATE FUNCTION lottery.start(
    p_lottery text, p_central text, p_instance text, p_expected int, p_roster int[], p_confirm bool)
RETURNS TABLE (
    alive bigint, different text, state text, expected int, roster int[], confirm bool)
LANGUAGE plpgsql AS $$
DECLARE
    l lottery.lotteries;
    other bigint;
    another text;
BEGIN
    INSERT INTO lottery.lotteries AS k (lottery, expected, roster, confirm)
        VALUES (p_lottery, p_expected, p_roster, p_confirm) ON CONFLICT DO NOTHING;
    SELECT k.* INTO l FROM lottery.lotteries k WHERE k.lottery = p_lottery FOR UPDATE;
    SELECT lottery.alive(p_lottery, p_central) INTO other;
    IF (l.expected, l.roster, l.confirm) IS DISTINCT FROM (p_expected, p_roster, p_confirm) THEN
        SELECT min(c.central) INTO another FROM lottery.centrals c
            WHERE c.lottery = p_lottery AND c.central <> p_central
                AND lottery.alive(p_lottery, c.central) IS NOT NULL;
    END IF;
    IF other IS NULL AND another IS NULL THEN
        INSERT INTO lottery.centrals AS c
            VALUES (p_lottery, p_central, p_instance, clock_timestamp())
            ON CONFLICT (lottery, central) DO UPDATE
            SET instance = excluded.instance, started = excluded.started;
        UPDATE lottery.workers w SET epoch = w.epoch + 1, in_flight = 0, seen = NULL
            WHERE w.lottery = p_lottery AND w.central = p_central;
        PERFORM lottery.expect(p_lottery, p_expected, p_roster, p_confirm);
    END IF;
    RETURN QUERY SELECT other, another, k.state, k.expected, k.roster, k.confirm
        FROM lottery.lotteries k WHERE k.lottery = p_lottery;
END $$;

-- Returns how many agencies have finished and count for the draw.
CREATE FUNCTION lottery.finished_count(p_lottery text) RETURNS bigint
LANGUAGE sql AS $$
    SELECT count(*) FROM lottery.finished f JOIN lottery.lotteries l USING (lottery)
    WHERE f.lottery = p_lottery AND (l.roster IS NULL OR f.agency = ANY (l.roster))
$$;

-- Returns the agencies that have finished and count for the draw.
CREATE FUNCTION lottery.finished_agencies(p_lottery text) RETURNS int[]
LANGUAGE sql AS $$
    SELECT coalesce(array_agg(f.agency), '{}')
    FROM lottery.finished f JOIN lottery.lotteries l USING (lottery)
    WHERE f.lottery = p_lottery AND (l.roster IS NULL OR f.agency = ANY (l.roster))
$$;

-- Closes the bets if every expected agency has finished. The caller has locked the lottery.
CREATE FUNCTION lottery.close_if_complete(p_lottery text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE lottery.lotteries l SET state = 'closed'
        WHERE l.lottery = p_lottery AND l.state = 'open'
            AND lottery.finished_count(p_lottery) >= l.expected;
    IF FOUND THEN
        UPDATE lottery.workers w SET open = false WHERE w.lottery = p_lottery;
        PERFORM pg_notify('lottery', p_lottery);
    END IF;
END $$;

-- Changes what the draw waits for. The agencies stay as they are once bets are closed. Returns false
-- then.
CREATE FUNCTION lottery.expect(p_lottery text, p_expected int, p_roster int[], p_confirm bool)
RETURNS bool
LANGUAGE plpgsql AS $$
DECLARE
    l lottery.lotteries;
BEGIN
    SELECT k.* INTO l FROM lottery.lotteries k WHERE k.lottery = p_lottery FOR UPDATE;
    UPDATE lottery.lotteries k SET confirm = p_confirm WHERE k.lottery = p_lottery;
    IF l.state <> 'open' THEN
        PERFORM pg_notify('lottery', p_lottery);
        RETURN false;
    END IF;
    UPDATE lottery.lotteries k SET expected = p_expected, roster = p_roster
        WHERE k.lottery = p_lottery;
    PERFORM lottery.close_if_complete(p_lottery);
    RETURN true;
END $$;

-- Makes a new connection the owner of the row of a worker, and fences the one before. It writes, so
-- what it says is durable. Returns nothing if another instance of the central has started.
CREATE FUNCTION lottery.claim(p_lottery text, p_central text, p_slot int, p_instance text)
RETURNS TABLE (epoch bigint, seq bigint, outcome bigint[], bets bigint, winners bigint)
LANGUAGE plpgsql AS $$
DECLARE
    is_open bool;
BEGIN
    PERFORM set_config('application_name', 'lottery ' || p_instance, false);
    SELECT l.state = 'open' INTO is_open FROM lottery.lotteries l
        WHERE l.lottery = p_lottery FOR SHARE;
    PERFORM FROM lottery.centrals c
        WHERE c.lottery = p_lottery AND c.central = p_central AND c.instance = p_instance FOR SHARE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY
        INSERT INTO lottery.workers AS w (lottery, central, slot, epoch, open, seen)
        VALUES (p_lottery, p_central, p_slot, 1, is_open, clock_timestamp())
        ON CONFLICT (lottery, central, slot) DO UPDATE
        SET epoch = w.epoch + 1, open = is_open, in_flight = 0, seen = clock_timestamp()
        RETURNING w.epoch, w.seq, w.outcome, w.bets, w.winners;
END $$;

-- Stores a group of batches. p_sizes has the bytes of each batch in p_rows, p_winner_batch the
-- number of the batch of each winner, p_key_batch that of each key, all from 1.
--
-- Returns nothing if another connection has claimed the row. Otherwise the number of groups that are
-- stored, which has not changed if bets are closed, and one code per batch, or null if all are
-- stored: 0 stored, 1 stored before, 2 not the next one of its session, 3 stored before with other
-- bets, 4 the session is another agency's, 5 bets are closed, 6 the lottery is drawn, 7 there are
-- p_sessions sessions already. Eight times the expected number is added to 2 and 4.
CREATE FUNCTION lottery.store(
    p_lottery text, p_central text, p_slot int, p_epoch bigint, p_seq bigint, p_in_flight int,
    p_bets bigint[], p_sizes int[], p_rows bytea,
    p_winner_batch int[], p_winner_agency int[], p_winner_document text[],
    p_winner_numbered int[], p_winner_line text[],
    p_key_batch int[], p_session bytea[], p_agency int[], p_sequence bigint[], p_content bigint[],
    p_sessions int)
RETURNS TABLE (seq bigint, outcome bigint[], bets bigint, winners bigint)
LANGUAGE plpgsql AS $$
DECLARE
    w lottery.workers;
    codes bigint[] := array_fill(0::bigint, ARRAY[cardinality(p_sizes)]);
    closed bigint;
    at bigint;
    stored int;
    sum_bets bigint;
    sum_winners bigint;
BEGIN
    SELECT k.* INTO w FROM lottery.workers k
        WHERE k.lottery = p_lottery AND k.central = p_central AND k.slot = p_slot FOR UPDATE;
    IF NOT FOUND OR w.epoch <> p_epoch OR w.seq <> p_seq THEN
        RETURN;
    END IF;
    IF NOT w.open THEN
        SELECT CASE l.state WHEN 'drawn' THEN 6 ELSE 5 END INTO closed
            FROM lottery.lotteries l WHERE l.lottery = p_lottery;
        codes := array_fill(closed, ARRAY[cardinality(p_sizes)]);
    END IF;
    IF cardinality(p_session) > 0 THEN
        codes := lottery.advance_sessions(
            p_lottery, codes, closed, p_key_batch, p_session, p_agency, p_sequence, p_content,
            p_sessions);
    END IF;
    IF NOT w.open THEN
        -- The write makes durable what the codes rely on.
        UPDATE lottery.workers k SET in_flight = p_in_flight, seen = clock_timestamp()
            WHERE k.lottery = p_lottery AND k.central = p_central AND k.slot = p_slot;
        RETURN QUERY SELECT w.seq, codes, w.bets, w.winners;
        RETURN;
    END IF;
    IF 0 = ALL (codes) THEN
        codes := NULL;
        stored := cardinality(p_sizes);
        SELECT sum(b) INTO sum_bets FROM unnest(p_bets) b;
    ELSE
        SELECT count(*), coalesce(sum(p_bets[b.n]), 0),
                coalesce(string_agg(substring(p_rows FROM b.start::int FOR b.size), ''::bytea ORDER BY b.n), '')
            INTO stored, sum_bets, p_rows
            FROM (
                SELECT s.n, s.size, 1 + sum(s.size) OVER (ORDER BY s.n) - s.size AS start
                FROM unnest(p_sizes) WITH ORDINALITY s (size, n)) b
            WHERE codes[b.n] = 0;
    END IF;
    IF stored > 0 THEN
        at := nextval('lottery.places');
        INSERT INTO lottery.groups
            VALUES (p_lottery, p_central, p_slot, p_seq, at, stored, sum_bets, p_rows);
    END IF;
    INSERT INTO lottery.winners
        SELECT p_lottery, p_central, p_slot, p_seq, v.ord, at, v.agency, v.document, v.numbered <> 0,
            v.line
        FROM unnest(p_winner_batch, p_winner_agency, p_winner_document, p_winner_numbered, p_winner_line)
            WITH ORDINALITY v (batch, agency, document, numbered, line, ord)
        WHERE codes IS NULL OR codes[v.batch] = 0;
    GET DIAGNOSTICS sum_winners = ROW_COUNT;
    RETURN QUERY
        UPDATE lottery.workers k
        SET seq = k.seq + 1, batches = k.batches + stored, bets = k.bets + sum_bets,
            winners = k.winners + sum_winners, in_flight = p_in_flight, seen = clock_timestamp(),
            outcome = codes
        WHERE k.lottery = p_lottery AND k.central = p_central AND k.slot = p_slot
        RETURNING k.seq, k.outcome, k.bets, k.winners;
END $$;

-- Judges the keyed batches of a group, and advances the sessions of those that are stored. `closed`
-- is the code of a batch that is refused because bets are closed, or null. Groups that run at the
-- same time do not see each other's new sessions, so each may add one more than p_sessions allows.
CREATE FUNCTION lottery.advance_sessions(
    p_lottery text, codes bigint[], closed bigint,
    p_key_batch int[], p_session bytea[], p_agency int[], p_sequence bigint[], p_content bigint[],
    p_sessions int)
RETURNS bigint[]
LANGUAGE plpgsql AS $$
DECLARE
    k record;
    s lottery.sessions;
    has_room bool;
BEGIN
    -- In one order for all, so that no two groups wait for each other.
    FOR k IN SELECT * FROM unnest(p_key_batch, p_session, p_agency, p_sequence, p_content)
            AS u (batch, session, agency, sequence, content) ORDER BY session, batch LOOP
        has_room := k.sequence <> 1 OR p_sessions > (
            SELECT count(*) FROM lottery.sessions t WHERE t.lottery = p_lottery);
        IF k.sequence = 1 AND closed IS NULL AND has_room THEN
            INSERT INTO lottery.sessions VALUES (p_lottery, k.session, k.agency, 1, k.content)
                ON CONFLICT DO NOTHING;
            CONTINUE WHEN FOUND;
        END IF;
        SELECT t.* INTO s FROM lottery.sessions t
            WHERE t.lottery = p_lottery AND t.session = k.session FOR UPDATE;
        IF NOT FOUND THEN
            codes[k.batch] := CASE WHEN k.sequence <> 1 THEN 2 + 8 ELSE coalesce(closed, 7) END;
        ELSIF s.agency <> k.agency THEN
            codes[k.batch] := 4 + 8 * s.agency;
        ELSIF k.sequence = s.sequence THEN
            codes[k.batch] := CASE WHEN k.content = s.content THEN 1 ELSE 3 END;
        ELSIF k.sequence <> s.sequence + 1 THEN
            codes[k.batch] := 2 + 8 * (s.sequence + 1);
        ELSIF closed IS NULL THEN
            UPDATE lottery.sessions t SET sequence = k.sequence, content = k.content
                WHERE t.lottery = p_lottery AND t.session = k.session;
        END IF;
    END LOOP;
    RETURN codes;
END $$;

-- Returns the number of the next batch of each session, or minus the agency of the session if it is
-- another one. It writes, so what it says is durable. Returns null if another connection has claimed
-- the row.
CREATE FUNCTION lottery.next_sequences(
    p_lottery text, p_central text, p_slot int, p_epoch bigint, p_session bytea[], p_agency int[])
RETURNS bigint[]
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE lottery.workers w SET seen = clock_timestamp()
        WHERE w.lottery = p_lottery AND w.central = p_central AND w.slot = p_slot
            AND w.epoch = p_epoch;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT array_agg(
            CASE WHEN s.agency <> u.agency THEN -s.agency ELSE coalesce(s.sequence, 0) + 1 END
            ORDER BY u.n)
        FROM unnest(p_session, p_agency) WITH ORDINALITY u (session, agency, n)
        LEFT JOIN lottery.sessions s ON s.lottery = p_lottery AND s.session = u.session);
END $$;

-- Writes how many agencies are in flight in a worker. The commit does not wait for the disk.
-- Returns false if another connection has claimed the row.
CREATE FUNCTION lottery.mark(
    p_lottery text, p_central text, p_slot int, p_epoch bigint, p_in_flight int)
RETURNS bool
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    UPDATE lottery.workers w SET in_flight = p_in_flight, seen = clock_timestamp()
        WHERE w.lottery = p_lottery AND w.central = p_central AND w.slot = p_slot
            AND w.epoch = p_epoch;
    RETURN FOUND;
END $$;

-- Returns the winners of the lottery, and the agencies in flight at other centrals that are alive,
-- of one moment. It writes, so what it says is durable. Returns nothing if another connection has
-- claimed the row.
CREATE FUNCTION lottery.totals(p_lottery text, p_central text, p_slot int, p_epoch bigint)
RETURNS TABLE (winners bigint, in_flight bigint)
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE lottery.workers w SET seen = clock_timestamp()
        WHERE w.lottery = p_lottery AND w.central = p_central AND w.slot = p_slot
            AND w.epoch = p_epoch;
    IF FOUND THEN
        RETURN QUERY
            SELECT coalesce(sum(w.winners), 0)::bigint, coalesce(sum(w.in_flight) FILTER (
                WHERE w.central <> p_central AND w.seen > clock_timestamp() - interval '10 s'), 0)
            FROM lottery.workers w WHERE w.lottery = p_lottery;
    END IF;
END $$;

-- Shows that a worker is alive, and returns the state of the lottery, with the bets and winners
-- that are not stored in the first p_slots rows of this central. The agencies that have finished and count for the draw are null if
-- their number is p_finished and bets were reopened p_reopened times, so that the caller knows them.
-- Returns nothing if another connection has claimed the row.
CREATE FUNCTION lottery.beat(
    p_lottery text, p_central text, p_slot int, p_epoch bigint, p_in_flight int,
    p_slots int, p_finished bigint, p_reopened bigint)
RETURNS TABLE (
    state text, expected int, finished bigint, confirm bool, confirmed bool, reopened bigint,
    bets bigint, winners bigint, agencies int[])
LANGUAGE plpgsql AS $$
BEGIN
    IF lottery.mark(p_lottery, p_central, p_slot, p_epoch, p_in_flight) THEN
        RETURN QUERY
            SELECT l.state, l.expected, f.finished, l.confirm, l.confirmed,
                l.reopened, coalesce(o.bets, 0)::bigint, coalesce(o.winners, 0)::bigint,
                CASE WHEN f.finished IS DISTINCT FROM p_finished OR l.reopened <> p_reopened
                    THEN lottery.finished_agencies(p_lottery) END
            FROM lottery.lotteries l, lottery.finished_count(p_lottery) f (finished), (
                SELECT sum(w.bets) AS bets, sum(w.winners) AS winners FROM lottery.workers w
                WHERE w.lottery = p_lottery AND (w.central <> p_central OR w.slot >= p_slots)) o
            WHERE l.lottery = p_lottery;
    END IF;
END $$;

-- Ends the lease of a worker that stops.
CREATE FUNCTION lottery.release(p_lottery text, p_central text, p_slot int, p_epoch bigint)
RETURNS void
LANGUAGE sql AS $$
    UPDATE lottery.workers w SET in_flight = 0, seen = NULL
    WHERE w.lottery = p_lottery AND w.central = p_central AND w.slot = p_slot AND w.epoch = p_epoch
$$;

-- Ends the leases of a central that stops.
CREATE FUNCTION lottery.stop(p_lottery text, p_central text, p_instance text) RETURNS void
LANGUAGE sql AS $$
    UPDATE lottery.workers w SET epoch = w.epoch + 1, in_flight = 0, seen = NULL
    FROM lottery.centrals c
    WHERE c.lottery = p_lottery AND c.central = p_central AND c.instance = p_instance
        AND w.lottery = c.lottery AND w.central = c.central;
    UPDATE lottery.centrals c SET started = NULL
    WHERE c.lottery = p_lottery AND c.central = p_central AND c.instance = p_instance
$$;

-- Marks agencies as finished, and closes the bets once all expected ones have. Returns those that
-- were not marked before, and the numbers after it.
CREATE FUNCTION lottery.finish(p_lottery text, p_agencies int[])
RETURNS TABLE (agencies int[], finished bigint, expected int, state text)
LANGUAGE plpgsql AS $$
DECLARE
    added int[];
BEGIN
    PERFORM FROM lottery.lotteries l WHERE l.lottery = p_lottery FOR UPDATE;
    WITH a AS (
        INSERT INTO lottery.finished SELECT DISTINCT p_lottery, u FROM unnest(p_agencies) u
        ON CONFLICT DO NOTHING RETURNING agency)
    SELECT coalesce(array_agg(a.agency), '{}') INTO added FROM a;
    PERFORM lottery.close_if_complete(p_lottery);
    RETURN QUERY
        SELECT added, lottery.finished_count(p_lottery), l.expected, l.state
        FROM lottery.lotteries l WHERE l.lottery = p_lottery;
END $$;

-- Holds the draw if it is due. Returns the bets that it was held over, or null if it was not due.
CREATE FUNCTION lottery.hold_draw(p_lottery text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    over bigint;
BEGIN
    UPDATE lottery.lotteries l
        SET state = 'drawn',
            drawn_bets = (
                SELECT coalesce(sum(w.bets), 0) FROM lottery.workers w WHERE w.lottery = p_lottery)
        WHERE l.lottery = p_lottery AND l.state = 'closed' AND (NOT l.confirm OR l.confirmed)
        RETURNING l.drawn_bets INTO over;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    INSERT INTO lottery.draw
        SELECT p_lottery, v.agency,
            row_number() OVER (PARTITION BY v.agency ORDER BY v.place, v.ord),
            v.document
        FROM lottery.winners v
        WHERE v.lottery = p_lottery AND v.agency <> 0 AND v.numbered;
    UPDATE lottery.lotteries l
        SET drawn_winners = (SELECT count(*) FROM lottery.draw d WHERE d.lottery = p_lottery)
        WHERE l.lottery = p_lottery;
    PERFORM pg_notify('lottery', p_lottery);
    RETURN over;
END $$;

-- Executes a command of an operator: 'confirm' the draw, or 'reopen' the bets. Returns 'done', or
-- why not: 'drawn', 'open' (not every agency has finished), or 'automatic' (no confirmation needed).
CREATE FUNCTION lottery.operate(p_lottery text, p_command text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    l lottery.lotteries;
BEGIN
    SELECT k.* INTO l FROM lottery.lotteries k WHERE k.lottery = p_lottery FOR UPDATE;
    IF l.state = 'drawn' THEN
        RETURN 'drawn';
    END IF;
    IF p_command = 'confirm' THEN
        IF NOT l.confirm THEN
            RETURN 'automatic';
        ELSIF l.state = 'open' THEN
            RETURN 'open';
        END IF;
        UPDATE lottery.lotteries k SET confirmed = true WHERE k.lottery = p_lottery;
    ELSE
        DELETE FROM lottery.finished f WHERE f.lottery = p_lottery;
        UPDATE lottery.lotteries k
            SET state = 'open', confirmed = false, reopened = k.reopened + 1
            WHERE k.lottery = p_lottery;
        UPDATE lottery.workers w SET open = true WHERE w.lottery = p_lottery;
    END IF;
    PERFORM pg_notify('lottery', p_lottery);
    RETURN 'done';
END $$;
